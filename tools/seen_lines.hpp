// Numbered lines that have been seen: after a failed sync a durable log has lines once more, in the
// next segment, with the same number and checksum. Remembers the last quarter of a million, in 4
// MiB of which only what is used is touched. One thread.
#pragma once

#include "log_line.hpp"

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace sapwood::tools {

class seen_lines {
  public:
    /// Whether it is the first of its number and checksum; lines without a number always are.
    [[nodiscard]] bool is_new(const log_line& line) {
        if (!line.is_numbered || line.number == 0) {
            return true;
        }
        if (places_ == nullptr) {
            places_.reset(static_cast<place*>(std::calloc(remembered_max, sizeof(place))));
            if (places_ == nullptr) {
                throw std::bad_alloc();
            }
        }
        place& at = places_[line.number % remembered_max];
        if (at.number == line.number && at.checksum == line.checksum) {
            return false;
        }
        at = {line.number, line.checksum};
        return true;
    }

  private:
    static constexpr std::uint64_t remembered_max = 1u << 18;

    struct place {
        std::uint64_t number;
        std::uint32_t checksum;
    };

    struct freed {
        void operator()(place* memory) const noexcept { std::free(memory); }
    };

    std::unique_ptr<place[], freed> places_;
};

} // namespace sapwood::tools
