#include <sapwood/syslog_log_sink.hpp>

#include "parts_kept.hpp"

#include <sapwood/stream_log_sink.hpp>
#include <sapwood/unix_socket.hpp>

#include <fmt/format.h>
#include <utility>

namespace sapwood {

namespace {

/// What syslog_layout makes begins with it, and no other form of a crash's does.
bool has_priority(std::string_view line) noexcept {
    return line.starts_with('<');
}

std::string last_words(const syslog_log_sink_options& options) {
    return fmt::format("<{}>{}: ", options.form.facility | LOG_CRIT,
                       options.form.ident.empty() ? program_name() : options.form.ident);
}

class datagrams final : public datagram_log_sink {
  public:
    explicit datagrams(const syslog_log_sink_options& options)
        : datagram_log_sink(options.limits),
          path_(options.path) {
        before_last_words = last_words(options);
    }

    std::string describe() const override { return fmt::format("syslog {}", path_); }

  protected:
    task<socket> connect() override {
        co_return connect_now(endpoint::unix_path(path_), SOCK_DGRAM);
    }

    bool has_own_form(std::string_view line) const noexcept override { return has_priority(line); }

  private:
    const std::string path_;
};

/// As glibc does it: a NUL ends a record.
class nul_ended_stream final : public stream_log_sink {
  public:
    explicit nul_ended_stream(const syslog_log_sink_options& options)
        : stream_log_sink({.framing = log_framing::nul_ended,
                           .record_bytes_max = options.limits.bytes_max,
                           .connect_within = options.limits.give_up_after,
                           .give_up_after = options.limits.give_up_after,
                           .must_connect = options.limits.must_connect}),
          path_(options.path) {
        before_last_words = last_words(options);
    }

    std::string describe() const override { return fmt::format("syslog {}", path_); }

  protected:
    task<stream> connect() override {
        unix_stream made = co_await unix_stream::connect(endpoint::unix_path(path_));
        co_return stream(made.release());
    }

    bool has_own_form(std::string_view line) const noexcept override { return has_priority(line); }

  private:
    const std::string path_;
};

bool is_of_other_kind(const std::system_error& error) noexcept {
    return error.code() == std::errc::wrong_protocol_type;
}

} // namespace

syslog_log_sink::syslog_log_sink(syslog_log_sink_options options)
    : options_(std::move(options)),
      way_(make_way(false)),
      untold_(std::make_unique<detail::parts_kept>(describe())) {}

syslog_log_sink::~syslog_log_sink() = default;

std::string syslog_log_sink::describe() const {
    return way_->describe();
}

std::unique_ptr<log_layout> syslog_log_sink::default_form() const {
    return std::make_unique<syslog_layout>(options_.form);
}

std::unique_ptr<log_sink> syslog_log_sink::make_way(bool is_stream) const {
    if (is_stream) {
        return std::make_unique<nul_ended_stream>(options_);
    }
    return std::make_unique<datagrams>(options_);
}

/// Throws std::bad_alloc, and the way is what it was.
void syslog_log_sink::take_other_way() {
    way_ = make_way(!is_stream_);
    is_stream_ = !is_stream_;
}

task<> syslog_log_sink::open() {
    return open_way(false);
}

task<> syslog_log_sink::open_in_child() {
    return open_way(true);
}

task<> syslog_log_sink::open_way(bool in_child) {
    bool is_other = false;
    try {
        if (in_child) {
            co_await way_->open_in_child();
        } else {
            co_await way_->open();
        }
    } catch (const std::system_error& error) {
        if (!is_of_other_kind(error)) {
            throw;
        }
        is_other = true;
    }
    if (is_other) {
        take_other_way();
        co_await way_->open();
    }
}

task<> syslog_log_sink::write(std::span<const char> lines) {
    std::size_t kept = 0;
    try {
        co_await way_->write(lines);
        co_return;
    } catch (const write_error& error) {
        if (!is_of_other_kind(error)) {
            throw;
        }
        kept = error.bytes_kept;
    } catch (const std::system_error& error) {
        if (!is_of_other_kind(error)) {
            throw;
        }
    }
    try {
        co_await way_->close();
        take_other_way();
        if (kept > 0) {
            throw write_error(std::make_error_code(std::errc::connection_reset),
                              fmt::format("{} is of another kind now", describe()), kept);
        }
    } catch (const std::bad_alloc&) {
        untold_->rethrow(kept);
    }
    co_await way_->write(lines);
}

bool syslog_log_sink::write_in_crash(std::span<const char> lines) noexcept {
    return way_->write_in_crash(lines);
}

task<> syslog_log_sink::close() {
    return way_->close();
}

} // namespace sapwood
