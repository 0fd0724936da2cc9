/* SPDX-License-Identifier: MIT */
/* WEIR_SANITIZED is 1 in builds with AddressSanitizer or ThreadSanitizer, which gcc and clang tell in
 * different ways. */
#ifndef WEIR_MASTER_SANITIZER_H
#define WEIR_MASTER_SANITIZER_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WEIR_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define WEIR_SANITIZED 1
#endif
#endif
#ifndef WEIR_SANITIZED
#define WEIR_SANITIZED 0
#endif

#endif
