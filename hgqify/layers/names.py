"""Other names of layers: Keras' short ones for pooling, and HGQ2's for a function by table."""

from hgqify.layers.affine_activation import QAffineActivation
from hgqify.layers.average_pooling import (
    QAveragePooling1D,
    QAveragePooling2D,
    QAveragePooling3D,
    QGlobalAveragePooling1D,
    QGlobalAveragePooling2D,
    QGlobalAveragePooling3D,
)
from hgqify.layers.max_pooling import (
    QGlobalMaxPooling1D,
    QGlobalMaxPooling2D,
    QGlobalMaxPooling3D,
    QMaxPooling1D,
    QMaxPooling2D,
    QMaxPooling3D,
)
from hgqify.layers.qactivation import QActivation

QAvgPool1D = QAveragePooling1D
QAvgPool2D = QAveragePooling2D
QAvgPool3D = QAveragePooling3D
QGlobalAvgPool1D = QGlobalAveragePooling1D
QGlobalAvgPool2D = QGlobalAveragePooling2D
QGlobalAvgPool3D = QGlobalAveragePooling3D
QGlobalMaxPool1D = QGlobalMaxPooling1D
QGlobalMaxPool2D = QGlobalMaxPooling2D
QGlobalMaxPool3D = QGlobalMaxPooling3D
QMaxPool1D = QMaxPooling1D
QMaxPool2D = QMaxPooling2D
QMaxPool3D = QMaxPooling3D
QUnaryFunctionLUT = QActivation
QAffinedUnaryFunctionLUT = QAffineActivation
