// spdlog_sink: a sink of spdlog's that hands what it gets to a sapwood logger. For programs, and
// libraries in them, that keep spdlog as their front end:
//
//     sapwood::logger log{{.path = "app.log"}};
//     spdlog::set_default_logger(std::make_shared<spdlog::logger>(
//         "app", std::make_shared<sapwood::spdlog_sink>(log)));
//
// Header only, and the only header that includes spdlog (1.10 or newer). Any thread: it is what
// spdlog calls `_mt`, without a lock of its own around the writing.
#pragma once

#include <sapwood/log_foreign.hpp>

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <spdlog/details/log_msg.h>
#include <spdlog/formatter.h>
#include <spdlog/sinks/sink.h>
#include <string>
#include <string_view>
#include <utility>

namespace sapwood {

class spdlog_sink final : public spdlog::sinks::sink {
  public:
    /// Records go to `to`'s log: those of a spdlog logger with a name to `to.child(name)`.
    explicit spdlog_sink(logger to) : root_(std::move(to)) {}

    /// Keeps the message's level, time, thread, logger and place in the source. spdlog's levels
    /// decide, the sapwood logger's are not asked. Throws std::bad_alloc, and std::length_error
    /// past 65534 names; what a full ring means is the sapwood log's options' affair.
    void log(const spdlog::details::log_msg& message) override {
        using std::chrono::duration_cast;
        const auto since_epoch = message.time.time_since_epoch();
        detail::foreign_record record{
            .importance = level_of(message.level),
            .message = {message.payload.data(), message.payload.size()},
            .when = wall_clock::time_point(duration_cast<wall_clock::duration>(since_epoch)),
            .thread = static_cast<std::uint32_t>(message.thread_id),
        };
        if (!message.source.empty()) {
            record.file = text_of(message.source.filename);
            record.line = message.source.line;
            record.function = text_of(message.source.funcname);
        }
        detail::put_foreign(core_of({message.logger_name.data(), message.logger_name.size()}),
                            record);
    }

    /// Waits until everything logged before is with the log's sinks; not on the loop that writes
    /// the log, which would wait for itself. Throws std::system_error where an output fails, which
    /// spdlog's error handler gets.
    void flush() override { detail::logger_access::flush_unless_here(root_); }

    /// The form is the sapwood log's: these do nothing.
    void set_pattern(const std::string&) override {}

    void set_formatter(std::unique_ptr<spdlog::formatter>) override {}

    /// Levels have the same names and order there; there are no records of `off`.
    [[nodiscard]] static sapwood::level level_of(spdlog::level::level_enum importance) noexcept {
        return importance >= spdlog::level::critical ? sapwood::level::critical
               : importance <= spdlog::level::trace  ? sapwood::level::trace
                                                     : static_cast<sapwood::level>(importance);
    }

  private:
    [[nodiscard]] static std::string_view text_of(const char* text) noexcept {
        return text != nullptr ? std::string_view(text) : std::string_view();
    }

    [[nodiscard]] const detail::log_core& core_of(std::string_view name) {
        if (name.empty()) {
            return detail::logger_access::core(root_);
        }
        {
            const std::shared_lock lock(mutex_);
            if (const auto found = children_.find(name); found != children_.end()) {
                return detail::logger_access::core(found->second);
            }
        }
        const std::unique_lock lock(mutex_);
        const auto known = children_.try_emplace(std::string(name), root_.child(name)).first;
        return detail::logger_access::core(known->second);
    }

    const logger root_;
    std::shared_mutex mutex_;
    /// Never removed: references to their cores stay good.
    std::map<std::string, logger, std::less<>> children_;
};

} // namespace sapwood
