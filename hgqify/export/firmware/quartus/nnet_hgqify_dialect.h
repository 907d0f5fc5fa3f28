#ifndef NNET_HGQIFY_DIALECT_H_
#define NNET_HGQIFY_DIALECT_H_

// Intel HLS: ac_fixed. Its pragmas stand directly before a loop; there is none inside one.

#include "nnet_common.h"

#define HGQIFY_INLINE
#define HGQIFY_PIPELINE
#define HGQIFY_UNROLL
#define HGQIFY_AC_TYPES

#endif
