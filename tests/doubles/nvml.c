/* A libnvidia-ml.so.1 under the real nvidia-ml-py: two GPUs, the second of which tells little.
   NVML_DOUBLE=mismatch: nvmlInit fails as after a driver update without a reboot.
   NVML_DOUBLE=hang: every reading hangs, as a driver in trouble does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, LOST = 15, MISMATCH = 18 };
static int gpus[2] = {0, 1};

static int mode_is(const char *name) {
  const char *mode = getenv("NVML_DOUBLE");
  return mode && !strcmp(mode, name);
}

int nvmlInitWithFlags(unsigned flags) { return mode_is("mismatch") ? MISMATCH : SUCCESS; }
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) {
  return code == MISMATCH ? "Driver/library version mismatch" : "Not Supported";
}
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 3; return SUCCESS; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
  if (index > 1) return LOST;
  *handle = &gpus[index];
  return SUCCESS;
}
int nvmlDeviceGetName(void *handle, char *name, unsigned length) {
  snprintf(name, length, "Double %d", *(int *)handle);
  return SUCCESS;
}
int nvmlDeviceGetUtilizationRates(void *handle, unsigned rates[2]) {
  while (mode_is("hang")) sleep(1);
  if (*(int *)handle) return NOT_SUPPORTED;
  rates[0] = 97;
  rates[1] = 40;
  return SUCCESS;
}
int nvmlDeviceGetMemoryInfo(void *handle, unsigned long long memory[3]) {
  memory[0] = 80ull << 30;
  memory[1] = 60ull << 30;
  memory[2] = 20ull << 30;
  return SUCCESS;
}
int nvmlDeviceGetPowerUsage(void *handle, unsigned *milliwatts) {
  if (*(int *)handle) return NOT_SUPPORTED;
  *milliwatts = 312500;
  return SUCCESS;
}
int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *celsius) {
  *celsius = 71;
  return SUCCESS;
}
