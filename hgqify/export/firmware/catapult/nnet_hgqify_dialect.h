#ifndef NNET_HGQIFY_DIALECT_H_
#define NNET_HGQIFY_DIALECT_H_

// Catapult: ac_fixed, ac_channel. Its pragmas stand directly before a loop; there is none inside one.

#include "ac_channel.h"
#include "ac_fixed.h"
#include "nnet_common.h"

#define HGQIFY_INLINE
#define HGQIFY_PIPELINE
#define HGQIFY_UNROLL
#define HGQIFY_AC_TYPES

#endif
