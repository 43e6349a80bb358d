#include <sapwood/spdlog_compat.hpp>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string_view>
#include <vector>

namespace sapwood::spdlog_compat {

namespace {

/// Loggers by name, and what is set for all of them. Any thread.
class registry {
  public:
    static registry& instance() {
        static registry only;
        return only;
    }

    std::shared_ptr<logger> get(std::string_view name) {
        const std::lock_guard lock(mutex_);
        const auto found = loggers_.find(name);
        return found != loggers_.end() ? found->second : nullptr;
    }

    void add(const std::shared_ptr<logger>& one) {
        const std::lock_guard lock(mutex_);
        add_locked(one);
    }

    void replace(std::shared_ptr<logger> one) {
        std::shared_ptr<logger> gone;
        const std::lock_guard lock(mutex_);
        auto& place = loggers_[one->name()];
        gone = std::exchange(place, std::move(one));
    }

    void apply_levels(const std::shared_ptr<logger>& one) {
        const std::lock_guard lock(mutex_);
        if (const auto own = levels_.find(one->name()); own != levels_.end()) {
            one->set_level(own->second);
        }
    }

    void initialize(const std::shared_ptr<logger>& one) {
        const std::lock_guard lock(mutex_);
        if (form_ != nullptr) {
            one->set_formatter(form_->clone());
        }
        if (error_handler_) {
            one->set_error_handler(error_handler_);
        }
        const auto own = levels_.find(one->name());
        one->set_level(own != levels_.end() ? own->second : level_);
        one->flush_on(flush_level_);
        one->enable_backtrace(backtrace_max_);
        if (automatic_) {
            add_locked(one);
        }
    }

    void drop(const std::string& name) {
        std::shared_ptr<logger> gone; // destroyed without the lock: it may write a log's end
        const std::lock_guard lock(mutex_);
        if (const auto found = loggers_.find(name); found != loggers_.end()) {
            gone = std::move(found->second);
            loggers_.erase(found);
        }
        if (default_ != nullptr && default_->name() == name) {
            set_default_locked(nullptr);
        }
    }

    void drop_all() {
        std::map<std::string, std::shared_ptr<logger>, std::less<>> gone;
        std::shared_ptr<logger> gone_default;
        const std::lock_guard lock(mutex_);
        gone.swap(loggers_);
        gone_default = std::move(default_);
        set_default_locked(nullptr);
    }

    /// Made when it is asked for the first time.
    logger* default_raw() {
        if (logger* const known = default_raw_.load(std::memory_order_acquire)) [[likely]] {
            return known;
        }
        make_default();
        return default_raw_.load(std::memory_order_acquire);
    }

    std::shared_ptr<logger> default_logger() {
        (void)default_raw();
        const std::lock_guard lock(mutex_);
        return default_;
    }

    void set_default(std::shared_ptr<logger> one) {
        std::shared_ptr<logger> gone;
        const std::lock_guard lock(mutex_);
        if (default_ != nullptr) {
            loggers_.erase(default_->name());
        }
        if (one != nullptr) {
            loggers_[one->name()] = one;
        }
        gone = std::move(default_);
        set_default_locked(std::move(one));
    }

    void apply_all(const std::function<void(std::shared_ptr<logger>)>& call) {
        std::vector<std::shared_ptr<logger>> all;
        {
            const std::lock_guard lock(mutex_);
            for (const auto& [name, one] : loggers_) {
                all.push_back(one);
            }
        }
        for (auto& each : all) {
            call(std::move(each));
        }
    }

    void set_level(level::level_enum least) {
        {
            const std::lock_guard lock(mutex_);
            level_ = least;
        }
        apply_all([least](const auto& one) { one->set_level(least); });
    }

    void set_formatter(std::unique_ptr<formatter> form) {
        apply_all([&form](const auto& one) { one->set_formatter(form->clone()); });
        const std::lock_guard lock(mutex_);
        form_ = std::move(form);
    }

    void flush_on(level::level_enum least) {
        {
            const std::lock_guard lock(mutex_);
            flush_level_ = least;
        }
        apply_all([least](const auto& one) { one->flush_on(least); });
    }

    void set_error_handler(const err_handler& handler) {
        {
            const std::lock_guard lock(mutex_);
            error_handler_ = handler;
        }
        apply_all([&handler](const auto& one) { one->set_error_handler(handler); });
    }

    void enable_backtrace(std::size_t messages_max) {
        {
            const std::lock_guard lock(mutex_);
            backtrace_max_ = messages_max;
        }
        apply_all([messages_max](const auto& one) { one->enable_backtrace(messages_max); });
    }

    void set_automatic(bool automatic) {
        const std::lock_guard lock(mutex_);
        automatic_ = automatic;
    }

    void set_levels(std::map<std::string, level::level_enum> levels) {
        if (const auto all = levels.find(""); all != levels.end()) {
            set_level(all->second);
        }
        apply_all([&levels](const auto& one) {
            if (const auto own = levels.find(one->name()); own != levels.end()) {
                one->set_level(own->second);
            }
        });
        const std::lock_guard lock(mutex_);
        levels.erase("");
        levels_ = std::move(levels);
    }

  private:
    void add_locked(const std::shared_ptr<logger>& one) {
        if (!loggers_.try_emplace(one->name(), one).second) {
            throw spdlog_ex("logger with name '" + one->name() + "' already exists");
        }
    }

    void make_default() {
        auto made = std::make_shared<logger>("", std::make_shared<sinks::stdout_color_sink_mt>());
        const std::lock_guard lock(mutex_);
        if (default_ != nullptr) {
            return; // another thread was first
        }
        made->set_level(level_);
        made->flush_on(flush_level_);
        made->enable_backtrace(backtrace_max_);
        made->set_error_handler(error_handler_);
        if (form_ != nullptr) {
            made->set_formatter(form_->clone());
        }
        loggers_[""] = made;
        set_default_locked(made);
    }

    void set_default_locked(std::shared_ptr<logger> one) {
        default_raw_.store(one.get(), std::memory_order_release);
        default_ = std::move(one);
    }

    std::mutex mutex_;
    std::atomic<logger*> default_raw_{nullptr};
    std::shared_ptr<logger> default_;
    std::map<std::string, std::shared_ptr<logger>, std::less<>> loggers_;
    std::map<std::string, level::level_enum> levels_;
    std::unique_ptr<formatter> form_;
    err_handler error_handler_;
    level::level_enum level_ = level::info;
    level::level_enum flush_level_ = level::off;
    std::size_t backtrace_max_ = 0;
    bool automatic_ = true;
};

} // namespace

std::shared_ptr<logger> get(std::string_view name) {
    return registry::instance().get(name);
}

void register_logger(const std::shared_ptr<logger>& one) {
    registry::instance().add(one);
}

void register_or_replace(const std::shared_ptr<logger>& one) {
    registry::instance().replace(one);
}

void apply_logger_env_levels(const std::shared_ptr<logger>& one) {
    registry::instance().apply_levels(one);
}

std::shared_ptr<details::thread_pool> thread_pool() {
    static const auto only = std::make_shared<details::thread_pool>();
    return only;
}

void initialize_logger(const std::shared_ptr<logger>& one) {
    registry::instance().initialize(one);
}

void drop(const std::string& name) {
    registry::instance().drop(name);
}

void drop_all() {
    registry::instance().drop_all();
}

void shutdown() {
    if (sapwood::detail::running_loop == nullptr) { // or it would wait for itself
        apply_all([](const std::shared_ptr<logger>& each) { each->flush(); });
    }
    registry::instance().drop_all();
}

void apply_all(const std::function<void(std::shared_ptr<logger>)>& call) {
    registry::instance().apply_all(call);
}

void set_automatic_registration(bool automatic) {
    registry::instance().set_automatic(automatic);
}

std::shared_ptr<logger> default_logger() {
    return registry::instance().default_logger();
}

logger* default_logger_raw() {
    return registry::instance().default_raw();
}

void set_default_logger(std::shared_ptr<logger> one) {
    registry::instance().set_default(std::move(one));
}

void set_level(level::level_enum least) {
    registry::instance().set_level(least);
}

level::level_enum get_level() {
    return default_logger_raw()->level();
}

bool should_log(level::level_enum importance) {
    return default_logger_raw()->should_log(importance);
}

void set_pattern(const std::string& pattern, pattern_time_type zone) {
    set_formatter(std::make_unique<pattern_formatter>(pattern, zone));
}

void set_formatter(std::unique_ptr<formatter> form) {
    registry::instance().set_formatter(std::move(form));
}

void flush_on(level::level_enum least) {
    registry::instance().flush_on(least);
}

void set_error_handler(const err_handler& handler) {
    registry::instance().set_error_handler(handler);
}

void enable_backtrace(std::size_t messages_max) {
    registry::instance().enable_backtrace(messages_max);
}

void disable_backtrace() {
    registry::instance().enable_backtrace(0);
}

void dump_backtrace() {
    default_logger_raw()->dump_backtrace();
}

namespace cfg {

void load_levels(const std::string& levels) {
    std::map<std::string, level::level_enum> found;
    std::string_view rest = levels;
    while (!rest.empty()) {
        const std::string_view part = rest.substr(0, rest.find(','));
        rest.remove_prefix(std::min(part.size() + 1, rest.size()));
        const auto equals = part.find('=');
        const std::string name(equals == part.npos ? "" : part.substr(0, equals));
        const std::string value(equals == part.npos ? part : part.substr(equals + 1));
        const auto parsed = level::from_str(value);
        if (parsed != level::off || value == "off") {
            found[name] = parsed;
        }
    }
    registry::instance().set_levels(std::move(found));
}

void load_env_levels(const char* variable) {
    if (const char* const levels = std::getenv(variable)) {
        load_levels(levels);
    }
}

void load_argv_levels(int argc, const char* const* argv) {
    constexpr std::string_view prefix = "SPDLOG_LEVEL=";
    for (int i = 1; i < argc; ++i) {
        if (const std::string_view argument = argv[i]; argument.starts_with(prefix)) {
            load_levels(std::string(argument.substr(prefix.size())));
        }
    }
}

} // namespace cfg

} // namespace sapwood::spdlog_compat
