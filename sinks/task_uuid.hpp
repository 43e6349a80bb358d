// task_uuid: random UUIDs (RFC 4122, version 4) for the tasks of actions. Any thread.
#pragma once

namespace sapwood::detail {

/// Puts the 36 bytes of a new one there. Takes no lock and no system call, but for a thread's first
/// one, and a forked child's.
void put_new_uuid(char* to) noexcept;

/// Two hexadecimal digits of a byte.
inline void put_hex_byte(char* to, unsigned byte) noexcept {
    constexpr const char* digits = "0123456789abcdef";
    to[0] = digits[(byte >> 4) & 0xf];
    to[1] = digits[byte & 0xf];
}

} // namespace sapwood::detail
