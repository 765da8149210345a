/* Fake libnvidia-ml.so.1 for the real nvidia-ml-py. It has three GPUs. The second one reports few
   figures and has problems (errors, heat, MIG); the third one is lost.
   NVML_DOUBLE changes that:
     mismatch     nvmlInit fails as after a driver update without a reboot
     denied       nvmlInit fails as for a user who may not open the device
     unopened     the first GPU is denied, the others are unchanged
     hang         every reading hangs, as with a broken driver
     hang-later   the first reading of all GPUs is answered, then every reading hangs
     lost-later   after the first reading every GPU has fallen off its bus
     eight        eight healthy GPUs that report every figure
     old          a driver before MemoryInfo_v2, event reasons and process lists
     name         the first GPU's name contains terminal escape sequences
     bytes        the first GPU's name is not valid text
   NVML_DOUBLE_PROCESSES: a file with the first GPU's processes, one "PID BYTES" per line, with "na"
   for unavailable bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
  SUCCESS = 0, NOT_SUPPORTED = 3, DENIED = 4, NOT_FOUND = 6, TOO_SMALL = 7, NO_FUNCTION = 13,
  LOST = 15, MISMATCH = 18, OTHER_VERSION = 25
};
enum { INSTANCES = 2, FIRST_INSTANCE = 100 };
static int gpus[8] = {0, 1, 2, 3, 4, 5, 6, 7};
static int instances[INSTANCES] = {FIRST_INSTANCE, FIRST_INSTANCE + 1};
static int rounds; /* number of requests for the first GPU */

static int mode_is(const char *name) {
  const char *mode = getenv("NVML_DOUBLE");
  return mode && !strcmp(mode, name);
}

static unsigned count(void) { return mode_is("eight") ? 8 : 3; }
static int reports_all(void *handle) { return !*(int *)handle || mode_is("eight"); }
static int is_lost(void) { return mode_is("lost-later") && rounds > 1; }

int nvmlInitWithFlags(unsigned flags) {
  return mode_is("mismatch") ? MISMATCH : mode_is("denied") ? DENIED : SUCCESS;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) {
  if (code == DENIED) return "Insufficient Permissions";
  return code == MISMATCH ? "Driver/library version mismatch" : "Not Supported";
}
int nvmlDeviceGetCount_v2(unsigned *found) { *found = count(); return SUCCESS; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
  if (index == 0) {
    rounds++;
    if (mode_is("unopened")) return DENIED;
  }
  if (index >= count() || (index == 2 && !mode_is("eight"))) return LOST;
  *handle = &gpus[index];
  return SUCCESS;
}
int nvmlDeviceGetName(void *handle, char *name, unsigned length) {
  if (mode_is("name") && !*(int *)handle)
    snprintf(name, length, "\033[2J\033]0;title\007GPU\r\nno");
  else if (mode_is("bytes") && !*(int *)handle)
    snprintf(name, length, "\xff\xfe GPU");
  else
    snprintf(name, length, "Double %d", *(int *)handle);
  return SUCCESS;
}
int nvmlDeviceGetUtilizationRates(void *handle, unsigned rates[2]) {
  while (mode_is("hang") || (mode_is("hang-later") && rounds > 1)) sleep(1);
  if (is_lost()) return LOST;
  if (!reports_all(handle)) return NOT_SUPPORTED;
  rates[0] = 97 - 10 * *(int *)handle;
  rates[1] = 40;
  return SUCCESS;
}
int nvmlDeviceGetMemoryInfo(void *handle, unsigned long long memory[3]) {
  int is_instance = *(int *)handle >= FIRST_INSTANCE;
  memory[0] = (is_instance ? 10ull : 80ull) << 30;
  memory[1] = (is_instance ? 7ull : 60ull) << 30;
  memory[2] = (is_instance ? 3ull : 20ull) << 30;
  return SUCCESS;
}
struct memory_v2 { unsigned version; unsigned long long total, reserved, free, used; };
int nvmlDeviceGetMemoryInfo_v2(void *handle, struct memory_v2 *memory) {
  if (mode_is("old")) return NO_FUNCTION;
  if (memory->version != 0x02000028) return OTHER_VERSION;
  memory->total = 80ull << 30;
  memory->reserved = 1ull << 30;
  memory->free = 60ull << 30;
  memory->used = 19ull << 30;
  return SUCCESS;
}
int nvmlDeviceGetPowerUsage(void *handle, unsigned *milliwatts) {
  if (!reports_all(handle)) return NOT_SUPPORTED;
  *milliwatts = 312500 - 20000 * *(int *)handle;
  return SUCCESS;
}
int nvmlDeviceGetEnforcedPowerLimit(void *handle, unsigned *milliwatts) {
  if (*(int *)handle == 1 && !reports_all(handle)) return DENIED;
  *milliwatts = 450000;
  return SUCCESS;
}
int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *celsius) {
  *celsius = 71;
  return SUCCESS;
}
int nvmlSystemGetDriverVersion(char *version, unsigned length) {
  snprintf(version, length, "570.124.06");
  return SUCCESS;
}
int nvmlSystemGetCudaDriverVersion(int *version) { *version = 12080; return SUCCESS; }
int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
  *major = 8;
  *minor = 6;
  return SUCCESS;
}
int nvmlDeviceGetTotalEccErrors(void *handle, int type, int counter, unsigned long long *count) {
  if (!*(int *)handle) return NOT_SUPPORTED;
  *count = type == 1 && !reports_all(handle) ? 2 : 0; /* uncorrected */
  return SUCCESS;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(void *handle, unsigned long long *reasons) {
  *reasons = reports_all(handle) ? 0x1 : 0x40; /* idle; too hot */
  return SUCCESS;
}
int nvmlDeviceGetCurrentClocksEventReasons(void *handle, unsigned long long *reasons) {
  if (mode_is("old")) return NO_FUNCTION;
  return nvmlDeviceGetCurrentClocksThrottleReasons(handle, reasons);
}
int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *found) { *found = 7; return SUCCESS; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **instance) {
  if (index >= INSTANCES) return NOT_FOUND;
  *instance = &instances[index];
  return SUCCESS;
}
int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending) {
  *current = *pending = *(int *)handle == 1 && !reports_all(handle);
  return SUCCESS;
}
int nvmlDeviceGetPersistenceMode(void *handle, int *on) { *on = *(int *)handle; return SUCCESS; }
int nvmlDeviceGetComputeMode(void *handle, int *mode) { *mode = 0; return SUCCESS; }
struct process { unsigned pid; unsigned long long memory; unsigned gpu_instance, compute_instance; };
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, struct process *list) {
  if (mode_is("old")) return NO_FUNCTION;
  if (!reports_all(handle)) return NOT_SUPPORTED;
  if (*(int *)handle) return *count = 0, SUCCESS;
  struct process found[8] = {{1, 12ull << 30, -1, -1}};
  unsigned room = list ? *count : 0, are = 0;
  const char *path = getenv("NVML_DOUBLE_PROCESSES");
  FILE *file = path ? fopen(path, "r") : NULL;
  char bytes[32];
  while (file && are < 8 && fscanf(file, "%u %31s", &found[are].pid, bytes) == 2)
    found[are++].memory = strcmp(bytes, "na") ? strtoull(bytes, NULL, 10) : ~0ull;
  if (file) fclose(file);
  if (!path) are = 1;
  *count = are;
  if (!are) return SUCCESS;
  if (room < are) return TOO_SMALL;
  memcpy(list, found, are * sizeof *found);
  return SUCCESS;
}
