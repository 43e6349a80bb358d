#include "seeded_hash.hpp"

#include <bit>
#include <cstring>
#include <random>

namespace sapwood::tools {

namespace {

struct hash_key {
    std::uint64_t low = drawn();
    std::uint64_t high = drawn();

    static std::uint64_t drawn() {
        std::random_device device;
        const std::uint64_t half = device();
        return half << 32 | device();
    }
};

/// As https://www.aumasson.jp/siphash/siphash.pdf has it: one round a word, three at the end.
class sip_state {
  public:
    sip_state() {
        static const hash_key key;
        v0_ = key.low ^ 0x736f6d6570736575;
        v1_ = key.high ^ 0x646f72616e646f6d;
        v2_ = key.low ^ 0x6c7967656e657261;
        v3_ = key.high ^ 0x7465646279746573;
    }

    void add(std::uint64_t word) noexcept {
        v3_ ^= word;
        round();
        v0_ ^= word;
    }

    [[nodiscard]] std::uint64_t finish() noexcept {
        v2_ ^= 0xff;
        round();
        round();
        round();
        return v0_ ^ v1_ ^ v2_ ^ v3_;
    }

  private:
    void round() noexcept {
        v0_ += v1_;
        v1_ = std::rotl(v1_, 13) ^ v0_;
        v0_ = std::rotl(v0_, 32);
        v2_ += v3_;
        v3_ = std::rotl(v3_, 16) ^ v2_;
        v0_ += v3_;
        v3_ = std::rotl(v3_, 21) ^ v0_;
        v2_ += v1_;
        v1_ = std::rotl(v1_, 17) ^ v2_;
        v2_ = std::rotl(v2_, 32);
    }

    std::uint64_t v0_;
    std::uint64_t v1_;
    std::uint64_t v2_;
    std::uint64_t v3_;
};

} // namespace

std::uint64_t seeded_hash(std::string_view text) {
    sip_state state;
    const std::uint64_t size = text.size();
    std::uint64_t word = 0;
    for (; text.size() >= sizeof(word); text.remove_prefix(sizeof(word))) {
        std::memcpy(&word, text.data(), sizeof(word));
        state.add(word);
    }
    word = size << 56;
    std::memcpy(&word, text.data(), text.size());
    state.add(word);
    return state.finish();
}

std::uint64_t seeded_hash(std::uint64_t number) {
    sip_state state;
    state.add(number);
    return state.finish();
}

} // namespace sapwood::tools
