// The consumer of a log: drains the rings of all threads, in order of time, into the outputs'
// batches, and has these written. A coroutine on the log's own thread, or on a loop of the
// program's. When it has nothing to do it naps for a moment, and, where nothing comes, sleeps until
// it is woken. On its loop only.
#pragma once

#include <sapwood/log_backend.hpp>
#include <sapwood/log_output.hpp>
#include <sapwood/task.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace sapwood::detail {

/// The names of a log's loggers, by number. Any thread.
class log_names {
  public:
    log_names() { names_.push_back(std::make_unique<std::string>()); }

    /// Throws std::length_error past 65535 names.
    [[nodiscard]] std::uint16_t add(std::string_view name);

    [[nodiscard]] std::string_view of(std::uint16_t id) const {
        const std::lock_guard lock(mutex_);
        return id < names_.size() ? std::string_view(*names_[id]) : std::string_view("unknown");
    }

  private:
    mutable std::mutex mutex_;
    std::vector<std::unique_ptr<std::string>> names_; // never removed: views of them stay good
};

struct log_consumer_counts {
    std::uint64_t records = 0;
    std::uint64_t dropped[drop_reasons] = {};
    std::uint64_t ring_bytes_high = 0;
};

class log_consumer final : public stop_listener {
  public:
    log_consumer(std::shared_ptr<log_backend> backend, std::shared_ptr<log_names> names,
                 std::vector<std::unique_ptr<log_output>> outputs, clock::duration linger);

    /// Opens the outputs. Throws what the first one threw that cannot be opened.
    [[nodiscard]] task<> open();

    /// Consumes until the backend is closed and all is written.
    [[nodiscard]] static task<> run(std::shared_ptr<log_consumer> self);

    /// The loop ends: so does the log.
    void stop_requested() noexcept override;

  private:
    class nap;

    /// A ring in the merge: the ticks of its first record.
    struct source {
        std::uint64_t ticks;
        log_producer* producer;
        const log_frame* frame;
    };

    [[nodiscard]] task<> consume();
    [[nodiscard]] task<> rest();
    [[nodiscard]] task<> wait_for_progress();
    [[nodiscard]] std::size_t drain(std::uint64_t until);
    void gather(std::uint64_t until);
    void merge(std::uint64_t until);
    void take(log_producer& from, const log_frame& frame);
    void tell_gap(log_producer& from, std::uint64_t through);
    void tell_records_without_ring();
    void append(const log_record& record);
    void release_ended();
    void push_all();
    void tell_held_back(bool at_end);
    [[nodiscard]] clock::time_point next_telling() const;
    [[nodiscard]] bool all_settled() const;
    [[nodiscard]] bool any_failing() const;
    [[nodiscard]] bool only_output_fails() const;
    void give_up_failing();
    [[nodiscard]] bool batch_is_full() const;
    [[nodiscard]] std::string_view name_of(std::uint16_t id);

    const std::shared_ptr<log_backend> backend_;
    const std::shared_ptr<log_names> names_;
    const clock::duration linger_;
    const std::vector<std::unique_ptr<log_output>> outputs_;

    tick_clock clock_;
    std::shared_ptr<loop_bell> bell_;
    event progress_;
    std::vector<std::shared_ptr<log_producer>> producers_;
    std::vector<log_producer*> begun_;
    std::vector<source> heap_;
    /// Something that was committed is still in a ring: a batch was full, or it is too new.
    bool left_some_ = false;
    unsigned idle_naps_ = 0;
    std::size_t pass_bytes_ = 0;
    /// An output that must be waited for is full.
    bool is_full_ = false;
    std::vector<std::string_view> known_names_;
    std::uint64_t told_without_ring_ = 0;
    std::uint64_t dumps_done_ = 0;
    log_consumer_counts counts_;
};

} // namespace sapwood::detail
