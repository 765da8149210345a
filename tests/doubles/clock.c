/* Clocks of a process that a test moves while it runs, by LD_PRELOAD.
   FAKE_CLOCK: a file of two 64-bit integers, which are added to the clocks in seconds: the first to
   the date (CLOCK_REALTIME), the second to the time since boot (CLOCK_BOOTTIME). The monotonic clock
   stays, so the second number is the time for which the machine was suspended.
   Waits of threads end by the date, as in builds of Python for a glibc before 2.30. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *offsets;

__attribute__((constructor)) static void map_offsets(void) {
  const char *path = getenv("FAKE_CLOCK");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0)
    return;
  void *shared = mmap(NULL, 2 * sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
  if (shared != MAP_FAILED)
    offsets = shared;
  close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int result = (int)syscall(SYS_clock_gettime, clock, now);
  if (result || !offsets)
    return result;
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
    now->tv_sec += offsets[0];
  if (clock == CLOCK_BOOTTIME)
    now->tv_sec += offsets[1];
  return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  (void)zone;
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *result) {
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  if (result)
    *result = exact.tv_sec;
  return exact.tv_sec;
}

static int64_t read_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int sem_clockwait(sem_t *restrict semaphore, clockid_t clock, const struct timespec *restrict end) {
  int64_t left = end->tv_sec * 1000000000LL + end->tv_nsec - read_ns(clock);
  int64_t last = read_ns(CLOCK_REALTIME) + left;
  while (sem_trywait(semaphore)) {
    if (read_ns(CLOCK_REALTIME) >= last) {
      errno = ETIMEDOUT;
      return -1;
    }
    usleep(5000);
  }
  return 0;
}
