// What an output holds back so that a log stays readable: records beyond a rate, of one place in
// the program or altogether, and repetitions. Whatever is held back is counted, and told in a line
// of the log: before the next record that is let through, or when its time is over. On the
// consumer's thread.
#pragma once

#include <sapwood/clock.hpp>
#include <sapwood/log_record.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

namespace sapwood {

/// So many records in a time.
struct log_rate {
    /// 0: no limit.
    std::uint32_t records = 0;
    std::chrono::nanoseconds interval = std::chrono::seconds(1);
    /// How many may come at once after a quiet time; 0: as many as `records`.
    std::uint32_t burst = 0;
};

struct log_limits {
    /// For each place in the source that logs. Calls cost an allocation more where it is set. Where
    /// a record does not know its place, for each level of each logger.
    log_rate each_call_site = {};

    /// For all records of the output together.
    log_rate all = {};

    /// A record with the level, logger, message and fields of the one before it is held back for so
    /// long after that one; 0: never. Another record in between, or the end of this time, and it is
    /// written again.
    std::chrono::nanoseconds repeats_within{0};

    [[nodiscard]] bool any() const noexcept {
        return each_call_site.records > 0 || all.records > 0 || repeats_within.count() > 0;
    }
};

namespace detail {

/// Records of this program's, by the place they come from, that there may be at once; those of
/// further ones share a rate.
inline constexpr std::size_t log_call_sites_max = 1024;

class log_restraint {
  public:
    /// Says in the log that records were held back. False where there is no room for it just now.
    class teller {
      public:
        virtual bool tell_held_back(std::string_view text, level importance) noexcept = 0;

      protected:
        ~teller() = default;
    };

    /// Throws std::invalid_argument that names the option.
    explicit log_restraint(const log_limits& limits);

    /// Whether the record is to be written; lines that belong before it have been told then. `now`
    /// is the loop's time, which decides when held back ones are told at the latest. Throws
    /// std::bad_alloc, and the record is not held back then.
    [[nodiscard]] bool admits(const log_record& record, clock::time_point now, teller& to);

    /// Whether something has to be told, and when.
    [[nodiscard]] clock::time_point due() const noexcept { return due_; }

    /// Tells what is due.
    void tell_due(clock::time_point now, teller& to) noexcept { tell_until(now, to); }

    /// Tells everything: the log ends.
    void tell_all(teller& to) noexcept { tell_until(clock::time_point::max(), to); }

    [[nodiscard]] std::uint64_t held_back() const noexcept { return held_back_; }

    [[nodiscard]] std::uint64_t told() const noexcept { return told_; }

  private:
    /// What was held back and is not told yet.
    struct held {
        std::uint64_t records = 0;
        level highest = level::trace;
        clock::time_point due = clock::time_point::max();
        std::string sample;
    };

    /// A token bucket, as the time at which it would be full again (GCRA).
    struct bucket {
        std::int64_t full_at_ns = 0;
        held back;
    };

    [[nodiscard]] bool repeats(const log_record& record) const noexcept;
    void remember(const log_record& record);
    [[nodiscard]] bool takes(bucket& from, const log_rate& rate, const log_record& record,
                             clock::time_point now);
    void hold(held& in, const log_record& record, clock::time_point due);
    [[nodiscard]] bucket& bucket_of(const log_record& record);
    bool tell(held& what, std::string_view why, teller& to) noexcept;
    void tell_until(clock::time_point now, teller& to) noexcept;

    const log_limits limits_;
    const std::string why_site_;
    const std::string why_all_;
    std::unordered_map<std::uint64_t, bucket> sites_;
    bucket all_;

    // The last record that was let through, and its repetitions.
    bool has_last_ = false;
    std::string last_;
    std::size_t last_message_bytes_ = 0;
    level last_level_ = level::off;
    std::uint16_t last_logger_ = 0;
    std::int64_t last_ns_ = 0;
    held repetitions_;

    clock::time_point due_ = clock::time_point::max();
    std::uint64_t held_back_ = 0;
    std::uint64_t told_ = 0;
};

} // namespace detail

} // namespace sapwood
