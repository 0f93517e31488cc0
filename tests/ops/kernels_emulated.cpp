// kernels_amx.cpp for any processor, its tile instructions emulated.
#define TRM_TILES "tests/ops/emulated_tiles.h"
#define TRM_TABLE kernels_emulated
#define TRM_LANES 4
#define TRM_ROWS 6
#include "trm/ops/cpu/kernels_amx.cpp"
