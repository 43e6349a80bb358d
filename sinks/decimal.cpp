#include <sapwood/decimal.hpp>

#include <array>

namespace sapwood::detail {

namespace {

/// "00" to "99", the first digit in the lower byte.
constexpr auto pairs = [] {
    std::array<std::uint16_t, 100> texts{};
    for (unsigned i = 0; i < 100; ++i) {
        texts[i] = static_cast<std::uint16_t>(('0' + i / 10) | ('0' + i % 10) << 8);
    }
    return texts;
}();

[[gnu::always_inline]] inline char* put_pair(char* to, std::uint64_t value) noexcept {
    std::memcpy(to, &pairs[value], 2);
    return to + 2;
}

/// One digit where it is below 10.
[[gnu::always_inline]] inline char* put_first(char* to, std::uint64_t value) noexcept {
    const unsigned one = value < 10 ? 1 : 0;
    const auto text = static_cast<std::uint16_t>(pairs[value] >> (8 * one));
    std::memcpy(to, &text, 2);
    return to + (2 - one);
}

/// A number as a fixed-point fraction with 32 bits behind the point: each multiplication by 100
/// brings two digits before it. `value` is rounded up by less than what the last pair could see.
class pairs_of {
  public:
    explicit pairs_of(std::uint64_t fixed) noexcept : fixed_(fixed) {}

    [[nodiscard]] std::uint64_t first() const noexcept { return fixed_ >> 32; }

    std::uint64_t next() noexcept {
        fixed_ = std::uint64_t{static_cast<std::uint32_t>(fixed_)} * 100;
        return fixed_ >> 32;
    }

  private:
    std::uint64_t fixed_;
};

[[gnu::always_inline]] inline char* put_eight(char* to, std::uint32_t value) noexcept {
    const std::uint64_t text = eight_digits(value) | eight_ascii_zeros;
    std::memcpy(to, &text, 8);
    return to + 8;
}

/// Nine digits and more. Apart, so that shorter ones need no frame on the stack for its call.
[[gnu::noinline]] char* put_long_decimal(char* to, std::uint64_t value) noexcept {
    to = put_decimal(to, value / 100'000'000);
    return put_eight(to, static_cast<std::uint32_t>(value % 100'000'000));
}

} // namespace

char* put_decimal(char* to, std::uint64_t value) noexcept {
    if (value < 100) {
        return put_first(to, value);
    }
    if (value < 10'000) {
        const std::uint64_t hundreds = (value * 5'243) >> 19;
        return put_pair(put_first(to, hundreds), value - 100 * hundreds);
    }
    if (value < 1'000'000) {
        pairs_of digits(value * 429'497); // 2^32 / 10^4
        to = put_first(to, digits.first());
        to = put_pair(to, digits.next());
        return put_pair(to, digits.next());
    }
    if (value < 100'000'000) {
        pairs_of digits(((value * 281'474'977) >> 16) + 1); // 2^48 / 10^6
        to = put_first(to, digits.first());
        to = put_pair(to, digits.next());
        to = put_pair(to, digits.next());
        return put_pair(to, digits.next());
    }
    if (value < 100'000'000) { // all eight: nothing to be shifted out
        return put_eight(to, static_cast<std::uint32_t>(value));
    }
    return put_long_decimal(to, value);
}

} // namespace sapwood::detail
