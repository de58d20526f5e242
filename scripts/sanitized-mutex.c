// The thread sanitizer's eyes for Swift's Mutex, preloaded by scripts/soak.
//
// On Linux a contended Mutex is handed over by the kernel (futex), inside a library that is not
// instrumented: the sanitizer sees no order between the two threads, and reports as a race what the
// mutex guards. These are the two functions of the hand-over, told to it.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define LOCK "$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF"
#define UNLOCK "$s15Synchronization12_MutexHandleV11_unlockSlowyyF"
#define SELF __attribute__((swift_context))

// Absent from programs that are not instrumented.
void __tsan_acquire(void *) __attribute__((weak));
void __tsan_release(void *) __attribute__((weak));

typedef __attribute__((swiftcall)) void (*lock_function)(uint32_t, SELF void *);
typedef __attribute__((swiftcall)) void (*unlock_function)(SELF void *);

static void *real(const char *name) {
  void *function = dlsym(RTLD_NEXT, name);
  if (!function) {
    fprintf(stderr, "sanitized-mutex: libswiftSynchronization has no %s: it is another Swift's\n", name);
    abort();
  }
  return function;
}

__attribute__((swiftcall)) void lock_slow(uint32_t thread, SELF void *mutex) __asm__(LOCK);
__attribute__((swiftcall)) void lock_slow(uint32_t thread, SELF void *mutex) {
  ((lock_function)real(LOCK))(thread, mutex);
  if (__tsan_acquire) __tsan_acquire(mutex);
}

__attribute__((swiftcall)) void unlock_slow(SELF void *mutex) __asm__(UNLOCK);
__attribute__((swiftcall)) void unlock_slow(SELF void *mutex) {
  if (__tsan_release) __tsan_release(mutex);
  ((unlock_function)real(UNLOCK))(mutex);
}
