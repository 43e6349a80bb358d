// spdlog's patterns as a form of a log's, and its messages as records.
#pragma once

#include <sapwood/log_foreign.hpp>
#include <sapwood/spdlog_compat_sink.hpp>
#include <sapwood/text_layout.hpp>

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <string>

namespace sapwood::spdlog_compat::details {

using sapwood::detail::foreign_record;

/// Borrows from the message, and from this thread's mdc.
[[nodiscard]] foreign_record record_of(const log_msg& message);

[[nodiscard]] custom_flags clone_of(const custom_flags& flags);

/// One output's.
class pattern_layout final : public log_layout {
  public:
    /// Throws spdlog_ex.
    pattern_layout(std::string pattern, pattern_time_type zone, bool colour,
                   custom_flags flags = {});

    void append(const log_record& record, log_buffer& to) override;

  private:
    /// What the record has decides what `%+` shows.
    struct shown {
        bool name;
        bool place;
        bool context;
    };

    text_layout& form_for(shown what);
    [[nodiscard]] std::string plain_pattern(shown what) const;
    void append_flag(char flag, const std::string& padding, shown what, std::string& to) const;
    void expand_flags(std::size_t begin, const log_record& record, log_buffer& to);

    const std::string pattern_;
    const pattern_time_type zone_;
    const bool colour_;
    const custom_flags flags_;
    std::array<std::unique_ptr<text_layout>, 8> forms_;
};

/// A pattern that is changed on one thread and used on another one.
struct shared_pattern {
    std::atomic<unsigned> version{0};
    std::mutex mutex;
    // With the mutex held.
    std::string pattern = "%+";
    pattern_time_type zone = pattern_time_type::local;
    custom_flags flags;
};

/// The consumer's end of it.
class shared_pattern_layout final : public log_layout {
  public:
    shared_pattern_layout(std::shared_ptr<shared_pattern> pattern, bool colour)
        : pattern_(std::move(pattern)),
          colour_(colour) {
        take();
    }

    void append(const log_record& record, log_buffer& to) override {
        if (pattern_->version.load(std::memory_order_acquire) != version_) [[unlikely]] {
            take();
        }
        form_->append(record, to);
    }

  private:
    void take() {
        const std::lock_guard lock(pattern_->mutex);
        form_ = std::make_unique<pattern_layout>(pattern_->pattern, pattern_->zone, colour_,
                                                 clone_of(pattern_->flags));
        version_ = pattern_->version.load(std::memory_order_relaxed);
    }

    std::shared_ptr<shared_pattern> pattern_;
    bool colour_;
    unsigned version_ = 0;
    std::unique_ptr<pattern_layout> form_;
};

} // namespace sapwood::spdlog_compat::details
