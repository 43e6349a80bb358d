#include <sapwood/crc32c.hpp>

#include <algorithm>
#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#include <wmmintrin.h>
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

/// Each instruction waits three cycles for the one before: from so many words on, three parts of
/// the text that go on beside each other make good what it takes to put them together.
constexpr std::size_t lanes_words_min = 16;
constexpr std::size_t lane_words_max = 32;

/// shifts[n], multiplied by a checksum without carries: what becomes of it where n words come
/// behind. x^(64 n - 33) modulo the polynomial, for the instruction that reduces the product
/// multiplies by x^33, and reflected (Intel, "Fast CRC Computation for iSCSI Polynomial Using CRC32
/// Instruction", 2011).
constexpr auto shifts = [] {
    std::array<std::uint32_t, 2 * lane_words_max + 1> made{};
    std::uint32_t power = 0x80000000; // x^0
    for (std::size_t exponent = 0; exponent <= 64 * (made.size() - 1) - 33; ++exponent) {
        if (exponent % 64 == 31) {
            made[exponent / 64 + 1] = power;
        }
        power = (power >> 1) ^ ((power & 1) != 0 ? polynomial : 0);
    }
    return made;
}();

/// To be reduced: the checksum `value`, behind which come `words`.
[[gnu::target("sse4.2,pclmul")]] __m128i shifted(std::uint64_t value, std::size_t words) noexcept {
    return _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<std::int64_t>(value)),
                                _mm_cvtsi64_si128(shifts[words]), 0);
}

[[gnu::target("sse4.2,pclmul")]] std::uint32_t by_three_lanes(std::string_view bytes,
                                                              std::uint32_t before) noexcept {
    std::uint64_t value = ~before;
    while (bytes.size() >= lanes_words_min * word_bytes) {
        const std::size_t words = std::min(bytes.size() / word_bytes / 3, lane_words_max);
        const std::size_t lane = words * word_bytes;
        const char* at = bytes.data();
        const char* const end = at + lane;
        std::uint64_t second = 0;
        std::uint64_t third = 0;
        for (; at != end; at += word_bytes) {
            value = _mm_crc32_u64(value, word_at(at));
            second = _mm_crc32_u64(second, word_at(at + lane));
            third = _mm_crc32_u64(third, word_at(at + 2 * lane));
        }
        const auto both = _mm_xor_si128(shifted(value, 2 * words), shifted(second, words));
        value = _mm_crc32_u64(0, static_cast<std::uint64_t>(_mm_cvtsi128_si64(both))) ^ third;
        bytes.remove_prefix(3 * lane);
    }
    return by_instruction(bytes, ~static_cast<std::uint32_t>(value));
}

using function = std::uint32_t (*)(std::string_view, std::uint32_t) noexcept;

function best() noexcept {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("sse4.2") == 0) {
        return &detail::crc32c_by_table;
    }
    return __builtin_cpu_supports("pclmul") != 0 ? &by_three_lanes : &by_instruction;
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
