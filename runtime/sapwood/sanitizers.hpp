// Which sanitizers the code is compiled with, for the few places that have to help them.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define SAPWOOD_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define SAPWOOD_ADDRESS_SANITIZER 1
#endif
#endif
#ifndef SAPWOOD_ADDRESS_SANITIZER
#define SAPWOOD_ADDRESS_SANITIZER 0
#endif
