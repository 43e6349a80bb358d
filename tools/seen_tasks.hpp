// Tasks that have been printed and forgotten, so that a record that comes behind them is not taken
// for one of a task that lacks its begin. Remembers about the last 65,000, in 1 MiB of which
// only what is used is touched. One thread.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <string_view>

namespace sapwood::tools {

class seen_tasks {
  public:
    /// How often it has been printed.
    [[nodiscard]] std::uint32_t times(std::string_view id) const noexcept {
        if (places_ == nullptr) {
            return 0;
        }
        const std::uint64_t hash = hash_of(id);
        const place& at = places_[hash % remembered_max];
        return at.hash == hash ? at.times : 0;
    }

    void add(std::string_view id) {
        if (places_ == nullptr) {
            places_.reset(static_cast<place*>(std::calloc(remembered_max, sizeof(place))));
            if (places_ == nullptr) {
                throw std::bad_alloc();
            }
        }
        const std::uint64_t hash = hash_of(id);
        place& at = places_[hash % remembered_max];
        at = {hash, at.hash == hash ? at.times + 1 : 1};
    }

  private:
    static constexpr std::uint64_t remembered_max = 1u << 16;

    struct place {
        std::uint64_t hash;
        std::uint32_t times;
    };

    static std::uint64_t hash_of(std::string_view id) noexcept {
        return std::hash<std::string_view>()(id);
    }

    struct freed {
        void operator()(place* memory) const noexcept { std::free(memory); }
    };

    std::unique_ptr<place[], freed> places_;
};

} // namespace sapwood::tools
