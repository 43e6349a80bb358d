#include "task_uuid.hpp"

#include <bit>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <pthread.h>
#include <sys/random.h>

namespace sapwood::detail {

namespace {

/// How many forks lie between this process and the first one that asked.
unsigned forks_seen = 0;

void count_forks() noexcept {
    static const int registered =
        ::pthread_atfork(nullptr, nullptr, [] { ++forks_seen; }); // in the child
    (void)registered;
}

/// xoshiro256++ (Blackman and Vigna, 2019): unguessable is not what a task's number has to be, only
/// unique, for which each thread begins somewhere in 2^256.
class uuid_source {
  public:
    std::uint64_t next() noexcept {
        const std::uint64_t result = std::rotl(state_[0] + state_[3], 23) + state_[0];
        const std::uint64_t shifted = state_[1] << 17;
        state_[2] ^= state_[0];
        state_[3] ^= state_[1];
        state_[1] ^= state_[2];
        state_[0] ^= state_[3];
        state_[2] ^= shifted;
        state_[3] = std::rotl(state_[3], 45);
        return result;
    }

    /// A forked child would otherwise give its tasks its parent's numbers.
    void seed_where_needed() noexcept {
        if (seeded_for_ != forks_seen + 1) [[unlikely]] {
            count_forks();
            if (::getrandom(state_, sizeof(state_), GRND_NONBLOCK) != sizeof(state_)) {
                seed_from_clock(); // early in the machine's life, or forbidden
            }
            seeded_for_ = forks_seen + 1;
        }
    }

  private:
    void seed_from_clock() noexcept {
        const auto address = reinterpret_cast<std::uintptr_t>(this);
        state_[0] ^=
            static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
        state_[1] ^= address * 0x9e37'79b9'7f4a'7c15;
        state_[2] ^=
            static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
        state_[3] |= 1;
    }

    std::uint64_t state_[4]{};
    unsigned seeded_for_ = 0;
};

[[gnu::tls_model("initial-exec")]] constinit thread_local uuid_source uuids;

/// Eight digits, a nibble each, the lowest first: of a number by chance that is as good as another
/// order.
std::uint64_t eight_hex_digits(std::uint32_t value) noexcept {
    // A nibble to each byte, then a digit of each: 0 to 9 are '0' and so on, 10 to 15 are 'a'.
    std::uint64_t spread = value;
    spread = (spread | spread << 16) & 0x0000'ffff'0000'ffff;
    spread = (spread | spread << 8) & 0x00ff'00ff'00ff'00ff;
    spread = (spread | spread << 4) & 0x0f0f'0f0f'0f0f'0f0f;
    const std::uint64_t letters = ((spread + 0x0606'0606'0606'0606) >> 4) & 0x0101'0101'0101'0101;
    return spread + 0x3030'3030'3030'3030 + letters * ('a' - '0' - 10);
}

/// Eight digits, with a dash in their middle.
char* put_divided(char* to, std::uint64_t digits) noexcept {
    const auto first = static_cast<std::uint32_t>(digits);
    const auto second = static_cast<std::uint32_t>(digits >> 32);
    std::memcpy(to, &first, 4);
    to[4] = '-';
    std::memcpy(to + 5, &second, 4);
    return to + 9;
}

} // namespace

void put_new_uuid(char* to) noexcept {
    uuids.seed_where_needed();
    const std::uint64_t high = uuids.next();
    const std::uint64_t low = uuids.next();
    // The thirteenth digit is the version, 4; the seventeenth is 8, 9, a or b.
    const auto middle =
        static_cast<std::uint32_t>((high >> 32 & ~std::uint64_t{0xf'0000}) | 0x4'0000);
    const auto variant = static_cast<std::uint32_t>((low & ~std::uint64_t{0xc}) | 0x8);
    const std::uint64_t first = eight_hex_digits(static_cast<std::uint32_t>(high));
    const std::uint64_t last = eight_hex_digits(static_cast<std::uint32_t>(low >> 32));
    std::memcpy(to, &first, 8);
    to[8] = '-';
    to = put_divided(to + 9, eight_hex_digits(middle));
    *to++ = '-';
    to = put_divided(to, eight_hex_digits(variant));
    std::memcpy(to, &last, 8);
}

} // namespace sapwood::detail
