// Tasks that have been printed and forgotten, so that a record that comes behind them is not taken
// for one of a task that lacks its begin. Remembers about the last 65,000, in 1 MiB of which
// only what is used is touched. One thread.
#pragma once

#include "seeded_hash.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <string_view>

namespace sapwood::tools {

class seen_tasks {
  public:
    struct account {
        /// How often it has been printed.
        std::uint32_t times = 0;
        /// Nothing was missing the last time.
        bool was_complete = false;
    };

    [[nodiscard]] account of(std::string_view id) const {
        if (places_ == nullptr) {
            return {};
        }
        const std::uint64_t hash = seeded_hash(id);
        const place* const set = set_of(hash);
        const place* const at = std::find_if(
            set, set + set_size, [hash](const place& each) { return each.hash == hash; });
        return at != set + set_size ? at->is : account();
    }

    void add(std::string_view id, bool is_complete) {
        if (places_ == nullptr) {
            places_.reset(static_cast<place*>(std::calloc(remembered_max, sizeof(place))));
            if (places_ == nullptr) {
                throw std::bad_alloc();
            }
        }
        const std::uint64_t hash = seeded_hash(id);
        place* const set = set_of(hash);
        place* const end = set + set_size;
        place* at = std::find_if(set, end, [hash](const place& each) { return each.hash == hash; });
        const std::uint32_t times = at != end ? at->is.times + 1 : 1;
        at = at != end ? at : end - 1; // the oldest
        std::copy_backward(set, at, at + 1);
        *set = {hash, {times, is_complete}};
    }

  private:
    static constexpr std::uint64_t remembered_max = 1u << 16;
    /// Of those whose hashes end alike so many are remembered, the newest first.
    static constexpr std::uint64_t set_size = 8;

    struct place {
        std::uint64_t hash;
        account is;
    };

    struct freed {
        void operator()(place* memory) const noexcept { std::free(memory); }
    };

    [[nodiscard]] place* set_of(std::uint64_t hash) const noexcept {
        return places_.get() + hash % (remembered_max / set_size) * set_size;
    }

    std::unique_ptr<place[], freed> places_;
};

} // namespace sapwood::tools
