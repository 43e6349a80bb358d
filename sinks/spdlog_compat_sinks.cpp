#include <sapwood/spdlog_compat_sinks.hpp>

#include "spdlog_compat_layout.hpp"

#include <sapwood/console_log_sink.hpp>
#include <sapwood/file_log_sink.hpp>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fmt/format.h>
#include <sys/types.h>
#include <system_error>

namespace sapwood::spdlog_compat {

namespace {

thread_local log_full_policy policy_of_new_sinks = log_full_policy::block;

/// As fopen() makes files, less the umask: who reads a program's log by spdlog can do so still.
constexpr mode_t file_mode = 0666;

log_colour colour_of(color_mode mode) noexcept {
    return mode == color_mode::always  ? log_colour::always
           : mode == color_mode::never ? log_colour::never
                                       : log_colour::automatic;
}

void call_with_file(const filename_t& path,
                    const std::function<void(const filename_t&, std::FILE*)>& handler) {
    if (!handler) {
        return;
    }
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "ae"),
                                                               &std::fclose);
    if (file == nullptr) {
        throw spdlog_ex(fmt::format("Failed opening file {} for writing", path), errno);
    }
    handler(path, file.get());
}

} // namespace

void details::prepare_file(const filename_t& path, bool truncate) {
    std::error_code error;
    const auto directory = std::filesystem::path(path).parent_path();
    if (!directory.empty()) {
        std::filesystem::create_directories(directory, error); // the open says what is wrong
    }
    if (truncate && std::filesystem::is_regular_file(path, error)) {
        std::filesystem::resize_file(path, 0, error);
        if (error) {
            throw spdlog_ex(fmt::format("Failed emptying file {}", path), error.value());
        }
    }
}

details::handler_calls::handler_calls(filename_t path, bool truncate, file_event_handlers handlers)
    : path_(std::move(path)),
      handlers_(std::move(handlers)) {
    if (handlers_.before_open) {
        handlers_.before_open(path_);
    }
    prepare_file(path_, truncate);
    call_with_file(path_, handlers_.after_open);
}

void details::handler_calls::end() {
    try {
        call_with_file(path_, handlers_.before_close);
    } catch (const spdlog_ex& error) {
        fmt::print(stderr, "sapwood: {}\n", error.what());
    }
    if (handlers_.after_close) {
        handlers_.after_close(path_);
    }
}

details::full_policy_scope::full_policy_scope(log_full_policy policy) noexcept
    : before_(std::exchange(policy_of_new_sinks, policy)) {}

details::full_policy_scope::~full_policy_scope() {
    policy_of_new_sinks = before_;
}

namespace sinks {

log_backed_sink::log_backed_sink(std::unique_ptr<log_sink> to, bool colour,
                                 const details::form_frame& frame)
    : pattern_(std::make_shared<details::shared_pattern>()) {
    logger_options options{.threshold = sapwood::level::trace,
                           .full = {.policy = policy_of_new_sinks}};
    std::unique_ptr<log_layout> form =
        std::make_unique<details::shared_pattern_layout>(pattern_, colour);
    if (frame) {
        form = frame(to->default_form(), std::move(form));
    }
    options.outputs.push_back({.sink = std::move(to), .form = std::move(form)});
    try {
        log_ = std::make_unique<sapwood::logger>(std::move(options));
    } catch (const std::system_error& error) {
        throw spdlog_ex(error.what());
    }
}

log_backed_sink::~log_backed_sink() = default;

void log_backed_sink::close() noexcept {
    children_.clear();
    log_.reset();
}

void log_backed_sink::log(const details::log_msg& message) {
    const auto* const core = core_of({message.logger_name.data(), message.logger_name.size()});
    detail::put_foreign(*core, details::record_of(message));
}

void log_backed_sink::flush() {
    detail::logger_access::flush_unless_here(*log_);
}

void log_backed_sink::set_pattern(const std::string& pattern) {
    change_pattern(pattern, pattern_time_type::local, {});
}

void log_backed_sink::set_formatter(std::unique_ptr<formatter> form) {
    const auto* const pattern = dynamic_cast<const pattern_formatter*>(form.get());
    if (pattern == nullptr) {
        throw spdlog_ex("sapwood's sinks take a pattern_formatter only; give a formatter of your "
                        "own to a sink that derives from base_sink");
    }
    change_pattern(pattern->pattern(), pattern->zone(), details::clone_of(pattern->flags()));
}

void log_backed_sink::change_pattern(const std::string& pattern, pattern_time_type zone,
                                     custom_flags flags) {
    (void)details::pattern_layout(pattern, zone, false, details::clone_of(flags)); // refuses it
    try {
        flush();
    } catch (const std::system_error&) { // it fails, and says so where somebody logs
    }
    const std::lock_guard lock(pattern_->mutex);
    pattern_->pattern = pattern;
    pattern_->zone = zone;
    pattern_->flags = std::move(flags);
    pattern_->version.fetch_add(1, std::memory_order_release);
}

const detail::log_core* log_backed_sink::core_of(std::string_view name) {
    if (name.empty()) {
        return &detail::logger_access::core(*log_);
    }
    const std::lock_guard lock(mutex_);
    for (const sapwood::logger& each : children_) {
        if (each.name() == name) {
            return &detail::logger_access::core(each);
        }
    }
    return &detail::logger_access::core(children_.emplace_back(log_->child(name)));
}

file_sink::file_sink(const filename_t& path, bool truncate, const file_event_handlers& handlers)
    : file_sink(details::handler_calls(path, truncate, handlers)) {}

file_sink::file_sink(details::handler_calls calls)
    : log_backed_sink(std::make_unique<file_log_sink>(calls.path(), file_mode)),
      calls_(std::move(calls)) {}

file_sink::~file_sink() {
    close();
    calls_.end();
}

template <int Descriptor, bool MayHaveColour>
standard_sink<Descriptor, MayHaveColour>::standard_sink(color_mode mode)
    : log_backed_sink(std::make_unique<console_log_sink>(
                          console_log_sink_options{.fd = Descriptor, .colour = colour_of(mode)}),
                      MayHaveColour && shows_colour(Descriptor, colour_of(mode))) {}

template class standard_sink<1, false>;
template class standard_sink<1, true>;
template class standard_sink<2, false>;
template class standard_sink<2, true>;

} // namespace sinks

} // namespace sapwood::spdlog_compat
