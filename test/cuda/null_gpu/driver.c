/* SPDX-License-Identifier: Apache-2.0
 * CUDA driver of the null GPU: what PyTorch, NVRTC and Triton ask of libcuda.so.1.
 */
#include <string.h>

#define X __attribute__((visibility("default")))
typedef long R;
long null_driver_launches;
static unsigned long next_handle = 8192;

static R new_handle(void **handle) {
  *handle = (void *)(next_handle += 16);
  return 0;
}
X R cuInit(unsigned flags) { return 0; }
X R cuDeviceGet(int *device, int index) { return *device = 0, 0; }
X R cuDeviceGetCount(int *n) { return *n = 1, 0; }
X R cuDriverGetVersion(int *n) { return *n = 13000, 0; }
X R cuDeviceGetName(char *name, int length, int device) { return strncpy(name, "null H100", length), 0; }
X R cuDeviceGetAttribute(int *value, int attribute, int device) {
  switch (attribute) { /* numbers of CUdevice_attribute */
    case 75: return *value = 9, 0;       /* compute capability, major */
    case 76: return *value = 0, 0;       /* minor */
    case 16: return *value = 132, 0;     /* multiprocessors */
    case 8: return *value = 49152, 0;    /* shared memory per block */
    case 97: return *value = 232448, 0;  /* the same, opt-in */
    case 81: return *value = 233472, 0;  /* per multiprocessor */
    case 10: return *value = 32, 0;      /* warp size */
    case 12: case 82: return *value = 65536, 0; /* registers */
    case 13: return *value = 1980000, 0; /* clock, kHz */
    case 36: return *value = 2619000, 0; /* of the memory */
    case 37: return *value = 5120, 0;    /* memory bus, bits */
    default: return *value = 1, 0;
  }
}
X R cuCtxGetCurrent(void **context) { return *context = (void *)64, 0; }
X R cuCtxGetDevice(int *device) { return *device = 0, 0; }
X R cuDevicePrimaryCtxRetain(void **context, int device) { return *context = (void *)64, 0; }
X R cuModuleLoadData(void **module, const void *image) { return new_handle(module); }
X R cuModuleGetFunction(void **function, void *module, const char *name) { return new_handle(function); }
X R cuFuncGetAttribute(int *value, int attribute, void *f) {
  return *value = attribute == 0 ? 1024 : attribute == 4 ? 64 : 0, 0; /* threads per block, registers */
}
X R cuLaunchKernelEx(const void *c, void *f, void **p, void **e) { return null_driver_launches++, 0; }
X R cuLaunchKernel(void *f) { return null_driver_launches++, 0; }
X R cuGetErrorString(int error, const char **text) { return *text = "null GPU error", 0; }
X R cuPointerGetAttribute(void *data, int attribute, unsigned long long pointer) {
  return *(unsigned long long *)data = pointer, 0;
}
X R cuOccupancyMaxActiveClusters(int *n, void *f, const void *c) { return *n = 16, 0; }
X R cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, void *f, int b, unsigned long s) { return *n = 2, 0; }

#include "driver_stubs.h"
