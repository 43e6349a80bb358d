#include <sapwood/crc32c.hpp>

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace sapwood {

namespace {

constexpr std::uint32_t polynomial = 0x82f63b78; // reflected
constexpr std::size_t word_bytes = 8;

/// tables[k][b]: what byte b does to the checksum when k bytes come behind it.
constexpr auto tables = [] {
    std::array<std::array<std::uint32_t, 256>, word_bytes> made{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        std::uint32_t value = byte;
        for (int bit = 0; bit < 8; ++bit) {
            value = (value >> 1) ^ ((value & 1) != 0 ? polynomial : 0);
        }
        made[0][byte] = value;
    }
    for (std::size_t byte = 0; byte < 256; ++byte) {
        for (std::size_t behind = 1; behind < word_bytes; ++behind) {
            const std::uint32_t value = made[behind - 1][byte];
            made[behind][byte] = (value >> 8) ^ made[0][value & 0xff];
        }
    }
    return made;
}();

std::uint64_t word_at(const char* from) noexcept {
    std::uint64_t word = 0;
    std::memcpy(&word, from, word_bytes);
    return word;
}

#if defined(__x86_64__)

[[gnu::target("sse4.2")]] std::uint32_t by_instruction(std::string_view bytes,
                                                       std::uint32_t before) noexcept {
    const char* at = bytes.data();
    const char* const end = at + bytes.size();
    std::uint64_t value = ~before;
    for (; end - at >= static_cast<std::ptrdiff_t>(word_bytes); at += word_bytes) {
        value = _mm_crc32_u64(value, word_at(at));
    }
    auto narrow = static_cast<std::uint32_t>(value);
    if (end - at >= 4) { // or up to seven steps, each of which waits for the one before
        std::uint32_t half = 0;
        std::memcpy(&half, at, sizeof(half));
        narrow = _mm_crc32_u32(narrow, half);
        at += sizeof(half);
    }
    for (; at != end; ++at) {
        narrow = _mm_crc32_u8(narrow, static_cast<unsigned char>(*at));
    }
    return ~narrow;
}

using function = std::uint32_t (*)(std::string_view, std::uint32_t) noexcept;

function best() noexcept {
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2") != 0 ? &by_instruction : &detail::crc32c_by_table;
}

#endif

} // namespace

std::uint32_t detail::crc32c_by_table(std::string_view bytes, std::uint32_t before) noexcept {
    const char* at = bytes.data();
    const char* const end = at + bytes.size();
    std::uint32_t value = ~before;
    for (; end - at >= static_cast<std::ptrdiff_t>(word_bytes); at += word_bytes) {
        const std::uint64_t word = word_at(at) ^ value;
        value = 0;
        for (std::size_t i = 0; i < word_bytes; ++i) {
            value ^= tables[word_bytes - 1 - i][(word >> (8 * i)) & 0xff];
        }
    }
    for (; at != end; ++at) {
        value = (value >> 8) ^ tables[0][(value ^ static_cast<unsigned char>(*at)) & 0xff];
    }
    return ~value;
}

std::uint32_t crc32c(std::string_view bytes, std::uint32_t before) noexcept {
#if defined(__x86_64__)
    static const function chosen = best();
    return chosen(bytes, before);
#else
    return detail::crc32c_by_table(bytes, before);
#endif
}

} // namespace sapwood
