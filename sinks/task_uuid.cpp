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

/// What a processor does at once.
using sixteen_bytes [[gnu::vector_size(16)]] = unsigned char;
using sixteen_signed [[gnu::vector_size(16)]] = signed char;
using two_words [[gnu::vector_size(16)]] = std::uint64_t;

/// 0 to 9 are '0' and so on, 10 to 15 are 'a'.
sixteen_bytes hex_digits_of(sixteen_bytes nibbles) noexcept {
    const auto letters = std::bit_cast<sixteen_bytes>(std::bit_cast<sixteen_signed>(nibbles) > 9);
    return nibbles + '0' + (letters & ('a' - '0' - 10));
}

} // namespace

void put_new_uuid(char* to) noexcept {
    uuids.seed_where_needed();
    // The thirteenth digit is the version, 4; the seventeenth is 8, 9, a or b.
    const two_words words = {(uuids.next() & ~(std::uint64_t{0xf0} << 48)) | std::uint64_t{0x40}
                                                                                 << 48,
                             (uuids.next() & ~std::uint64_t{0xc0}) | 0x80};
    const auto bytes = std::bit_cast<sixteen_bytes>(words);
    const sixteen_bytes upper = bytes >> 4;
    const sixteen_bytes lower = bytes & 0xf;
    const sixteen_bytes digits[] = {
        hex_digits_of(__builtin_shufflevector(upper, lower, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5,
                                              21, 6, 22, 7, 23)),
        hex_digits_of(__builtin_shufflevector(upper, lower, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28,
                                              13, 29, 14, 30, 15, 31))};
    char text[sizeof(digits)];
    std::memcpy(text, digits, sizeof(text));
    std::memcpy(to, text, 8);
    to[8] = '-';
    std::memcpy(to + 9, text + 8, 4);
    to[13] = '-';
    std::memcpy(to + 14, text + 12, 4);
    to[18] = '-';
    std::memcpy(to + 19, text + 16, 4);
    to[23] = '-';
    std::memcpy(to + 24, text + 20, 8);
    std::memcpy(to + 32, text + 28, 4);
}

} // namespace sapwood::detail
