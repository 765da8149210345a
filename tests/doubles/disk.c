/* A disk that fails on demand, loaded by LD_PRELOAD into the real keeper and the real command.
   DISK_DOUBLE names a control file, read at every call. Each line is "ERRNO CALLS TEXT": CALLS are
   letters (o open to write, w write, s fsync and fdatasync, r rename), and the calls fail with ERRNO
   on every path that contains TEXT. Files without a line, and without a control file, work. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int fails(char call, const char *path) {
  const char *control = getenv("DISK_DOUBLE");
  char text[4096], calls[16], part[256];
  int descriptor, number, used = 0, offset = 0;
  ssize_t size;
  if (!control || !path) return 0;
  descriptor = syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return 0;
  size = syscall(SYS_read, descriptor, text, sizeof text - 1);
  syscall(SYS_close, descriptor);
  if (size <= 0) return 0;
  text[size] = 0;
  while (sscanf(text + offset, "%d %15s %255s %n", &number, calls, part, &used) == 3) {
    if (strchr(calls, call) && strstr(path, part)) return errno = number;
    offset += used;
  }
  return 0;
}

static int fails_open_file(char call, int descriptor) {
  char name[64], path[4096];
  ssize_t size;
  snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
  size = syscall(SYS_readlinkat, AT_FDCWD, name, path, sizeof path - 1);
  if (size < 0) return 0;
  path[size] = 0;
  return fails(call, path);
}

static int fails_at(char call, int folder, const char *path) {
  char name[64], whole[PATH_MAX];
  ssize_t size;
  if (*path == '/' || folder == AT_FDCWD) return fails(call, path);
  snprintf(name, sizeof name, "/proc/self/fd/%d", folder);
  size = syscall(SYS_readlinkat, AT_FDCWD, name, whole, sizeof whole - 1);
  if (size < 0) return 0;
  snprintf(whole + size, sizeof whole - size, "/%s", path);
  return fails(call, whole);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define OPEN(name)                                                                             \
  int name(const char *path, int flags, ...) {                                                 \
    va_list arguments;                                                                         \
    mode_t mode;                                                                               \
    va_start(arguments, flags);                                                                \
    mode = va_arg(arguments, mode_t);                                                          \
    va_end(arguments);                                                                         \
    if ((flags & O_ACCMODE) != O_RDONLY && fails('o', path)) return -1;                        \
    return REAL(name)(path, flags, mode);                                                      \
  }
#define OPEN_AT(name)                                                                          \
  int name(int folder, const char *path, int flags, ...) {                                     \
    va_list arguments;                                                                         \
    mode_t mode;                                                                               \
    va_start(arguments, flags);                                                                \
    mode = va_arg(arguments, mode_t);                                                          \
    va_end(arguments);                                                                         \
    if ((flags & O_ACCMODE) != O_RDONLY && fails_at('o', folder, path)) return -1;                        \
    return REAL(name)(folder, path, flags, mode);                                              \
  }
OPEN(open)
OPEN(open64)
OPEN_AT(openat)
OPEN_AT(openat64)

ssize_t write(int file, const void *data, size_t size) {
  return fails_open_file('w', file) ? -1 : REAL(write)(file, data, size);
}
ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
  return fails_open_file('w', file) ? -1 : REAL(pwrite)(file, data, size, at);
}
ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) {
  return fails_open_file('w', file) ? -1 : REAL(pwrite64)(file, data, size, at);
}
ssize_t writev(int file, const struct iovec *parts, int count) {
  return fails_open_file('w', file) ? -1 : REAL(writev)(file, parts, count);
}
int fsync(int file) { return fails_open_file('s', file) ? -1 : REAL(fsync)(file); }
int fdatasync(int file) { return fails_open_file('s', file) ? -1 : REAL(fdatasync)(file); }
int rename(const char *from, const char *to) {
  return fails('r', to) ? -1 : REAL(rename)(from, to);
}
int renameat(int from_folder, const char *from, int to_folder, const char *to) {
  return fails_at('r', to_folder, to) ? -1 : REAL(renameat)(from_folder, from, to_folder, to);
}
