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

unsigned forks() noexcept {
    static const int registered =
        ::pthread_atfork(nullptr, nullptr, [] { ++forks_seen; }); // in the child
    (void)registered;
    return forks_seen;
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
        if (seeded_for_ != forks() + 1) [[unlikely]] {
            if (::getrandom(state_, sizeof(state_), GRND_NONBLOCK) != sizeof(state_)) {
                seed_from_clock(); // early in the machine's life, or forbidden
            }
            seeded_for_ = forks() + 1;
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

constinit thread_local uuid_source uuids;

/// The 16 digits of eight bytes, the highest first.
void put_sixteen_digits(std::uint64_t value, char* to) noexcept {
    // A nibble to each byte, then a digit of each: 0 to 9 are '0' and so on, 10 to 15 are 'a'.
    const auto digits_of = [](std::uint32_t part) {
        std::uint64_t spread = part;
        spread = (spread | spread << 16) & 0x0000'ffff'0000'ffff;
        spread = (spread | spread << 8) & 0x00ff'00ff'00ff'00ff;
        spread = (spread | spread << 4) & 0x0f0f'0f0f'0f0f'0f0f;
        const std::uint64_t letters =
            ((spread + 0x0606'0606'0606'0606) >> 4) & 0x0101'0101'0101'0101;
        return __builtin_bswap64(spread + 0x3030'3030'3030'3030 + letters * ('a' - '0' - 10));
    };
    const std::uint64_t high = digits_of(static_cast<std::uint32_t>(value >> 32));
    const std::uint64_t low = digits_of(static_cast<std::uint32_t>(value));
    std::memcpy(to, &high, 8);
    std::memcpy(to + 8, &low, 8);
}

} // namespace

void put_new_uuid(char* to) noexcept {
    uuids.seed_where_needed();
    const std::uint64_t high = (uuids.next() & ~std::uint64_t{0xf000}) | 0x4000; // version 4
    const std::uint64_t low = (uuids.next() & ~(std::uint64_t{3} << 62)) | std::uint64_t{1} << 63;
    char digits[32];
    put_sixteen_digits(high, digits);
    put_sixteen_digits(low, digits + 16);
    std::memcpy(to, digits, 8);
    to[8] = '-';
    std::memcpy(to + 9, digits + 8, 4);
    to[13] = '-';
    std::memcpy(to + 14, digits + 12, 4);
    to[18] = '-';
    std::memcpy(to + 19, digits + 16, 4);
    to[23] = '-';
    std::memcpy(to + 24, digits + 20, 12);
}

} // namespace sapwood::detail
