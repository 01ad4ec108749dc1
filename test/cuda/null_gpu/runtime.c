/* SPDX-License-Identifier: Apache-2.0
 * CUDA runtime and cuBLAS of a pretended H100: every call succeeds, kernels are counted and not run.
 * Loaded by LD_PRELOAD, it lets PyTorch's own CUDA dispatch, allocator and graph capture run on a
 * machine without a GPU. Device memory is ordinary memory that no kernel writes.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <driver_types.h>
#include <vector_types.h>

#define X __attribute__((visibility("default")))
#define CAPTURE_FORBIDS 900 /* cudaErrorStreamCaptureUnsupported */
#define OUT_OF_MEMORY 2
typedef long R;

/* counters, read through ctypes by null_gpu.py */
long null_launches, null_gemms, null_memsets, null_h2d, null_d2h, null_d2d;
long null_stream_syncs, null_device_syncs, null_event_syncs, null_mallocs;
long null_graph_nodes, null_replays, null_capture_bad;

static const size_t TOTAL = 80ul << 30;
static size_t used;
static int capturing;
static long nodes_before;
static uintptr_t next_handle = 4096;

static long work(void) {
  return null_launches + null_gemms + null_memsets + null_h2d + null_d2h + null_d2d;
}
static R forbidden_in_capture(void) {
  if (!capturing) return 0;
  null_capture_bad++;
  return CAPTURE_FORBIDS;
}
static R new_handle(void **handle) {
  *handle = (void *)(next_handle += 16);
  return 0;
}

/* ---- device */
X R cudaGetDeviceCount(int *n) { return *n = 1, 0; }
X R cudaGetDevice(int *n) { return *n = 0, 0; }
X R cudaSetDevice(int n) { return 0; }
X R cudaDriverGetVersion(int *n) { return *n = 13000, 0; }
X R cudaRuntimeGetVersion(int *n) { return *n = 13000, 0; }
X R cudaGetDeviceProperties(struct cudaDeviceProp *p, int device) {
  memset(p, 0, sizeof *p);
  strcpy(p->name, "null H100");
  p->totalGlobalMem = TOTAL;
  p->major = 9;
  p->multiProcessorCount = 132;
  p->warpSize = 32;
  p->maxThreadsPerBlock = p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
  p->maxThreadsDim[2] = 64;
  p->maxGridSize[0] = 2147483647;
  p->maxGridSize[1] = p->maxGridSize[2] = 65535;
  p->sharedMemPerBlock = 49152;
  p->sharedMemPerBlockOptin = 232448;
  p->sharedMemPerMultiprocessor = 233472;
  p->regsPerBlock = p->regsPerMultiprocessor = p->totalConstMem = 65536;
  p->maxThreadsPerMultiProcessor = 2048;
  p->maxBlocksPerMultiProcessor = 32;
  p->textureAlignment = 512;
  p->memoryBusWidth = 5120;
  p->l2CacheSize = 52428800;
  p->unifiedAddressing = p->concurrentKernels = 1;
  return 0;
}
X R cudaDeviceGetAttribute(int *value, int attribute, int device) {
  switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor: return *value = 9, 0;
    case cudaDevAttrComputeCapabilityMinor: return *value = 0, 0;
    case cudaDevAttrMultiProcessorCount: return *value = 132, 0;
    case cudaDevAttrMaxSharedMemoryPerBlock: return *value = 49152, 0;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: return *value = 232448, 0;
    case cudaDevAttrWarpSize: return *value = 32, 0;
    case cudaDevAttrMaxThreadsPerBlock: return *value = 1024, 0;
    case cudaDevAttrMaxThreadsPerMultiProcessor: return *value = 2048, 0;
    default: return *value = 1, 0;
  }
}
X R cudaDeviceCanAccessPeer(int *can, int a, int b) { return *can = 0, 0; }
X R cudaDeviceGetStreamPriorityRange(int *least, int *most) { return *least = 0, *most = -5, 0; }
X const char *cudaGetErrorString(int e) { return e == OUT_OF_MEMORY ? "out of memory" : "null GPU error"; }
X const char *cudaGetErrorName(int e) { return "nullGpuError"; }

/* ---- memory */
X R cudaMalloc(void **p, size_t bytes) {
  null_mallocs++;
  if (used + bytes > TOTAL) return OUT_OF_MEMORY;
  *p = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (*p == MAP_FAILED) return OUT_OF_MEMORY;
  used += bytes;
  return 0;
}
X R cudaMemGetInfo(size_t *available, size_t *total) {
  return *total = TOTAL, *available = TOTAL - used, 0;
}
X R cudaHostAlloc(void **p, size_t bytes, unsigned flags) {
  return *p = aligned_alloc(4096, (bytes + 4095) & ~4095ul), 0;
}
X R cudaPointerGetAttributes(struct cudaPointerAttributes *a, const void *p) {
  memset(a, 0, sizeof *a);
  a->type = cudaMemoryTypeUnregistered;
  return 0;
}
static void copy(void *to, const void *from, size_t bytes, int kind) {
  if (kind == cudaMemcpyDeviceToDevice) {
    null_d2d++;
    return;
  }
  *(kind == cudaMemcpyHostToDevice ? &null_h2d : &null_d2h) += 1;
  memcpy(to, from, bytes);
}
X R cudaMemcpy(void *to, const void *from, size_t bytes, int kind) {
  if (forbidden_in_capture()) return CAPTURE_FORBIDS;
  copy(to, from, bytes, kind);
  return 0;
}
X R cudaMemcpyAsync(void *to, const void *from, size_t bytes, int kind, void *stream) {
  if (kind != cudaMemcpyDeviceToDevice && forbidden_in_capture()) return CAPTURE_FORBIDS;
  copy(to, from, bytes, kind);
  return 0;
}
X R cudaMemsetAsync(void *p, int value, size_t bytes, void *stream) { return null_memsets++, 0; }

/* ---- streams, events, graphs */
X R cudaStreamCreateWithPriority(void **s, unsigned flags, int priority) { return new_handle(s); }
X R cudaStreamCreate(void **s) { return new_handle(s); }
X R cudaStreamGetPriority(void *s, int *priority) { return *priority = 0, 0; }
X R cudaEventCreate(void **e) { return new_handle(e); }
X R cudaEventCreateWithFlags(void **e, unsigned flags) { return new_handle(e); }
X R cudaEventElapsedTime(float *ms, void *a, void *b) { return *ms = 1, 0; }
X R cudaStreamSynchronize(void *s) { return null_stream_syncs++, forbidden_in_capture(); }
X R cudaDeviceSynchronize(void) { return null_device_syncs++, forbidden_in_capture(); }
X R cudaEventSynchronize(void *e) { return null_event_syncs++, forbidden_in_capture(); }
X R cudaStreamBeginCapture(void *s, int mode) { return capturing = 1, nodes_before = work(), 0; }
X R cudaStreamEndCapture(void *s, void **graph) {
  capturing = 0;
  null_graph_nodes = work() - nodes_before;
  return new_handle(graph);
}
X R cudaGraphInstantiateWithFlags(void **e, void *g, unsigned long long f) { return new_handle(e); }
X R cudaGraphGetNodes(void *g, void **nodes, size_t *n) { return *n = null_graph_nodes, 0; }
X R cudaGraphLaunch(void *e, void *s) { return null_replays++, 0; }
X R cudaStreamIsCapturing(void *s, int *status) { return *status = capturing, 0; }
X R cudaStreamGetCaptureInfo(void *s, int *status, unsigned long long *id) {
  *status = capturing;
  if (id) *id = capturing ? 7 : 0;
  return 0;
}
X R cudaThreadExchangeStreamCaptureMode(int *mode) { return *mode = 0, 0; }

/* ---- kernels: registered by the libraries, counted by name */
struct kernel {
  const void *function;
  const char *name;
  long launches;
};
static struct kernel *kernels;
static long registered, room;
static int is_sorted;
static __thread struct {
  dim3 grid, block;
  size_t shared;
  void *stream;
} launch_configuration;

static int by_address(const void *a, const void *b) {
  const struct kernel *x = a, *y = b;
  return x->function < y->function ? -1 : x->function > y->function;
}
static R launched(const void *function) {
  struct kernel key = {function}, *found;
  null_launches++;
  if (!is_sorted) {
    qsort(kernels, registered, sizeof *kernels, by_address);
    is_sorted = 1;
  }
  found = bsearch(&key, kernels, registered, sizeof *kernels, by_address);
  if (found) found->launches++;
  return 0;
}
X void **__cudaRegisterFatBinary(void *binary) {
  static void *handle[4];
  return handle;
}
X void __cudaRegisterFatBinaryEnd(void **handle) {}
X void __cudaUnregisterFatBinary(void **handle) {}
X char __cudaInitModule(void **handle) { return 1; }
X void __cudaRegisterVar(void) {}
X void __cudaRegisterFunction(void **h, const char *function, char *d, const char *name, int limit,
                              void *t, void *b, void *bd, void *gd, int *w) {
  if (registered == room) {
    room = room ? 2 * room : 65536;
    kernels = realloc(kernels, room * sizeof *kernels);
  }
  kernels[registered++] = (struct kernel){function, name, 0};
  is_sorted = 0;
}
X R __cudaGetKernel(void **kernel, const void *function) { return *kernel = (void *)function, 0; }
X R __cudaLaunchKernel(void *k, dim3 g, dim3 b, void **a, size_t s, void *st) { return launched(k); }
X R __cudaLaunchKernel_ptsz(void *k, dim3 g, dim3 b, void **a, size_t s, void *st) { return launched(k); }
X R cudaLaunchKernel(const void *k, dim3 g, dim3 b, void **a, size_t s, void *st) { return launched(k); }
X R cudaLaunchKernelExC(const cudaLaunchConfig_t *c, const void *k, void **a) { return launched(k); }
X unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void *stream) {
  launch_configuration.grid = grid;
  launch_configuration.block = block;
  launch_configuration.shared = shared;
  launch_configuration.stream = stream;
  return 0;
}
X R __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, void *stream) {
  *grid = launch_configuration.grid;
  *block = launch_configuration.block;
  *shared = launch_configuration.shared;
  *(void **)stream = launch_configuration.stream;
  return 0;
}
X R cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *n, const void *f, int b, size_t s, unsigned fl) {
  return *n = 2, 0;
}
X R cudaFuncGetAttributes(struct cudaFuncAttributes *a, const void *function) {
  memset(a, 0, sizeof *a);
  a->maxThreadsPerBlock = 1024;
  a->numRegs = 64;
  a->binaryVersion = a->ptxVersion = 90;
  return 0;
}
X R cudaGetSymbolAddress(void **p, const void *symbol) {
  static char somewhere[1 << 16];
  return *p = somewhere, 0;
}
static R does_nothing(void) { return 0; }
X R cudaGetDriverEntryPointByVersion(const char *name, void **f, unsigned v, unsigned long long fl, int *found) {
  *f = (void *)does_nothing;
  if (found) *found = 0; /* cudaDriverEntryPointSuccess */
  return 0;
}
X void null_report(const char *path) {
  FILE *file = fopen(path, "w");
  for (long i = 0; i < registered; i++)
    if (kernels[i].launches) fprintf(file, "%ld %s\n", kernels[i].launches, kernels[i].name);
  fclose(file);
}

/* ---- cuBLAS */
X R cublasCreate_v2(void **h) { return new_handle(h); }
X R cublasGetMathMode(void *h, int *mode) { return *mode = 0, 0; }
X R cublasGetPointerMode_v2(void *h, int *mode) { return *mode = 0, 0; }
X R cublasLtCreate(void **h) { return new_handle(h); }
X R cublasLtMatmulDescCreate(void **d, int compute, int scale) { return new_handle(d); }
X R cublasLtMatmulPreferenceCreate(void **p) { return new_handle(p); }
X R cublasLtMatrixLayoutCreate(void **l, int type, uint64_t r, uint64_t c, int64_t ld) { return new_handle(l); }
X R cublasLtMatmulAlgoGetHeuristic(void *h, void *o, void *a, void *b, void *c, void *d, void *p, int n, void *r,
                                   int *found) {
  return *found = 1, 0;
}
X R cublasLtMatmul(void) { return null_gemms++, 0; }
X R cublasGemmEx(void) { return null_gemms++, 0; }
X R cublasSgemmEx(void) { return null_gemms++, 0; }
X R cublasSgemm_v2(void) { return null_gemms++, 0; }
X R cublasSgemv_v2(void) { return null_gemms++, 0; }
X R cublasSgemmStridedBatched(void) { return null_gemms++, 0; }
X R cublasGemmStridedBatchedEx(void) { return null_gemms++, 0; }

#include "runtime_stubs.h"
