#include <sapwood/spdlog_compat_logger.hpp>

#include <sapwood/event_loop.hpp>

#include <cstdio>
#include <exception>
#include <fmt/chrono.h>

namespace sapwood::spdlog_compat {

namespace {

/// By default an error is told once a second at most, with the number of those that there were.
void tell_error(const std::string& logger, std::string_view what) {
    static std::mutex mutex;
    static log_clock::time_point told;
    static std::size_t errors = 0;
    const std::lock_guard lock(mutex);
    ++errors;
    const auto now = log_clock::now();
    if (now - told < std::chrono::seconds(1)) {
        return;
    }
    told = now;
    fmt::print(stderr, "[*** LOG ERROR #{:04} ***] [{:%Y-%m-%d %H:%M:%S}] [{}] {}\n", errors,
               fmt::localtime(log_clock::to_time_t(now)), logger, what);
}

} // namespace

logger::logger(std::string name, std::vector<sink_ptr> sinks)
    : name_(std::move(name)),
      sinks_(std::move(sinks)) {
    if (sinks_.size() == 1 && sinks_.front() != nullptr) {
        straight_sink_ = sinks_.front().get();
        straight_core_ = sinks_.front()->core_of(name_);
    }
}

void logger::log_formatted(source_loc where, level::level_enum importance, std::string_view format,
                           fmt::format_args arguments) {
    try {
        memory_buf_t text;
        fmt::vformat_to(fmt::appender(text), string_view_t(format.data(), format.size()),
                        arguments);
        log_text({}, where, importance, {text.data(), text.size()});
    } catch (...) {
        handle_exception(where);
    }
}

void logger::log_text(log_clock::time_point when, source_loc where, level::level_enum importance,
                      std::string_view text) {
    const bool is_logged = should_log(importance);
    const std::size_t backtrace_max = backtrace_max_.load(std::memory_order_relaxed);
    if (!is_logged && backtrace_max == 0) {
        return;
    }
    try {
        const details::log_msg message(when, where, {name_.data(), name_.size()}, importance,
                                       {text.data(), text.size()});
        if (is_logged) {
            give_to_sinks(message);
        }
        if (backtrace_max > 0) {
            keep(message, backtrace_max);
        }
    } catch (...) {
        handle_exception(where);
    }
    if (is_logged) {
        flush_if_due(importance);
    }
}

void logger::give_to_sinks(const details::log_msg& message) {
    for (const auto& each : sinks_) {
        if (each->should_log(message.level)) {
            try {
                each->log(message);
            } catch (...) { // the others still get it
                handle_exception(message.source);
            }
        }
    }
}

void logger::set_pattern(const std::string& pattern, pattern_time_type zone) {
    set_formatter(std::make_unique<pattern_formatter>(pattern, zone));
}

void logger::set_formatter(std::unique_ptr<formatter> form) {
    for (const auto& each : sinks_) {
        each->set_formatter(form->clone());
    }
}

std::shared_ptr<logger> logger::clone(std::string name) const {
    auto made = std::make_shared<logger>(std::move(name), sinks_.begin(), sinks_.end());
    made->set_level(level());
    made->flush_on(flush_level());
    made->enable_backtrace(backtrace_max_);
    made->set_error_handler(error_handler_);
    return made;
}

void logger::flush() {
    for (const auto& each : sinks_) {
        try {
            each->flush();
        } catch (...) {
            handle_exception({});
        }
    }
}

void logger::flush_now() {
    if (detail::running_loop == nullptr) {
        flush();
    }
}

void logger::keep(const details::log_msg& message, std::size_t messages_max) {
    const std::lock_guard lock(mutex_);
    backtrace_.push_back({message.time, message.source, message.level, message.thread_id,
                          std::string(message.payload.data(), message.payload.size())});
    while (backtrace_.size() > messages_max) {
        backtrace_.pop_front();
    }
}

void logger::dump_backtrace() {
    std::deque<kept_message> kept;
    {
        const std::lock_guard lock(mutex_);
        kept.swap(backtrace_);
    }
    if (kept.empty()) {
        return;
    }
    const auto give = [this](level::level_enum importance, const kept_message& one) {
        details::log_msg message(one.when, one.where, {name_.data(), name_.size()}, importance,
                                 {one.text.data(), one.text.size()});
        message.thread_id = one.thread != 0 ? one.thread : message.thread_id;
        give_to_sinks(message);
    };
    const auto frame = [](const char* text) { return kept_message{{}, {}, level::info, 0, text}; };
    give(level::info, frame("****************** Backtrace Start ******************"));
    for (const auto& each : kept) {
        give(each.importance, each);
    }
    give(level::info, frame("****************** Backtrace End ********************"));
}

void logger::handle_exception(source_loc where) {
    const auto tell = [&](std::string what) {
        if (where.filename != nullptr) {
            what += fmt::format(" [{}({})]", where.filename, where.line);
        }
        if (error_handler_) {
            error_handler_(what);
        } else {
            tell_error(name_, what);
        }
    };
    try {
        throw;
    } catch (const std::exception& error) {
        tell(error.what());
    } catch (...) {
        tell("an exception that is no std::exception");
        throw;
    }
}

} // namespace sapwood::spdlog_compat
