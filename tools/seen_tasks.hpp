// Tasks that have been printed and forgotten, so that a record that comes behind them is not taken
// for one of a task that lacks its begin. Remembers about the last 65,000, in 1 MiB of which
// only what is used is touched. One thread.
#pragma once

#include "seeded_hash.hpp"

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
        const place& at = places_[hash % remembered_max];
        return at.hash == hash ? at.is : account();
    }

    void add(std::string_view id, bool is_complete) {
        if (places_ == nullptr) {
            places_.reset(static_cast<place*>(std::calloc(remembered_max, sizeof(place))));
            if (places_ == nullptr) {
                throw std::bad_alloc();
            }
        }
        const std::uint64_t hash = seeded_hash(id);
        place& at = places_[hash % remembered_max];
        at = {hash, {at.hash == hash ? at.is.times + 1 : 1, is_complete}};
    }

  private:
    static constexpr std::uint64_t remembered_max = 1u << 16;

    struct place {
        std::uint64_t hash;
        account is;
    };

    struct freed {
        void operator()(place* memory) const noexcept { std::free(memory); }
    };

    std::unique_ptr<place[], freed> places_;
};

} // namespace sapwood::tools
