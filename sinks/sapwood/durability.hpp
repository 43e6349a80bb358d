// What a log promises of its records, and what it does while its disk takes none. Plain values.
#pragma once

#include <sapwood/clock.hpp>

#include <cstdint>

namespace sapwood {

/// When a log is made to survive the machine (fdatasync). What each level survives and what it
/// costs is in docs/durability.md.
class durability {
  public:
    /// Never before the log is closed, and then as the kernel likes: a record that is written
    /// survives this process, and the machine perhaps some seconds later.
    [[nodiscard]] static constexpr durability none() noexcept { return durability(kind::none); }

    /// At the latest `at_most` after a record was written; earlier where more is written meanwhile
    /// than is to be kept in memory.
    [[nodiscard]] static constexpr durability interval(clock::duration at_most) noexcept {
        return durability(kind::interval, at_most);
    }

    /// Every batch, before its records are acknowledged.
    [[nodiscard]] static constexpr durability batch() noexcept { return durability(kind::batch); }

    [[nodiscard]] constexpr bool is_none() const noexcept { return kind_ == kind::none; }

    [[nodiscard]] constexpr bool is_batch() const noexcept { return kind_ == kind::batch; }

    /// Zero but for an interval.
    [[nodiscard]] constexpr clock::duration at_most() const noexcept { return at_most_; }

    friend constexpr bool operator==(durability, durability) = default;

  private:
    enum class kind : std::uint8_t { none, interval, batch };

    explicit constexpr durability(kind which, clock::duration at_most = {}) noexcept
        : kind_(which),
          at_most_(at_most) {}

    kind kind_;
    clock::duration at_most_;
};

/// What becomes of records while the disk refuses them (full, read-only, broken) and the memory for
/// them is full: two batches and the queue.
enum class when_refused : std::uint8_t {
    /// `end` where durability is none, otherwise `block`.
    automatic,
    /// The log ends: append throws what the disk said, from then on. What there is no memory for is
    /// tried again.
    end,
    /// append waits until the disk takes records again.
    block,
    /// append throws what the disk says, for as long as it does, where it would have to wait; and
    /// so do those that wait already.
    refuse,
    /// append accepts records and they are lost, until the disk takes records again; then one line
    /// in their place says how many, which and why.
    drop,
};

} // namespace sapwood
