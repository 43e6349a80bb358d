// console_log_sink: lines on standard output or standard error, with colours where a person looks.
// A terminal that is stopped, or a pipe that is full, holds up nobody but this sink: it writes to
// an open file description of its own, which is non-blocking, and leaves the one that it shares
// with other processes as it is.
#pragma once

#include <sapwood/clock.hpp>
#include <sapwood/file.hpp>
#include <sapwood/log_sink.hpp>
#include <sapwood/stream.hpp>
#include <sapwood/text_layout.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unistd.h>

namespace sapwood {

namespace detail {

class parts_kept;

} // namespace detail

/// Whether levels have colours.
enum class log_colour : std::uint8_t {
    /// On a terminal (whose TERM is not `dumb`) or where CLICOLOR_FORCE is set; not where NO_COLOR
    /// is set, whatever it is set to.
    automatic,
    always,
    never,
};

/// Whether `automatic` means colours for this descriptor.
[[nodiscard]] bool shows_colour(int fd, log_colour setting = log_colour::automatic) noexcept;

/// The default text with the level in its colour.
inline constexpr std::string_view console_log_pattern = "%Y-%m-%d %H:%M:%S.%e %t %^%l%$ %*%v";

struct console_log_sink_options {
    /// 1 is standard output, 2 standard error; any other stays its owner's, and open as long as the
    /// log.
    int fd = STDOUT_FILENO;
    log_colour colour = log_colour::automatic;
    /// Of the form that it has where its output names none.
    std::string_view pattern = console_log_pattern;
    log_time_zone zone = log_time_zone::local;
    /// A write that gets no further for so long fails, and is tried again as others are; at the
    /// end of the log its lines are given up then.
    clock::duration give_up_after = std::chrono::seconds(1);
};

class console_log_sink final : public log_sink {
  public:
    explicit console_log_sink(const console_log_sink_options& options = {});

    /// Throws std::system_error where the descriptor is closed, or was when the sink was made.
    [[nodiscard]] task<> open() override;

    /// Throws sink_gone where nobody reads any more (EPIPE, a terminal that is hung up).
    [[nodiscard]] task<> write(std::span<const char> lines) override;
    [[nodiscard]] task<> close() override;
    [[nodiscard]] task<> open_in_child() override;
    [[nodiscard]] std::string describe() const override;
    [[nodiscard]] std::unique_ptr<log_layout> default_form() const override;
    bool write_in_crash(std::span<const char> lines) noexcept override;
    ~console_log_sink() override;

  private:
    [[nodiscard]] task<result<std::size_t>> write_some(std::span<const char> bytes);
    [[noreturn]] void fail(std::error_code why, std::size_t kept) const;
    [[noreturn]] void rethrow(std::string_view written);

    const int fd_;
    /// When the sink was made. What has the number later, the log's own file perhaps, is not it.
    const bool was_open_;
    const clock::duration give_up_after_;
    const std::string pattern_;
    const log_time_zone zone_;
    const bool has_colour_;
    /// What a write throws that there is no memory to tell of.
    const std::unique_ptr<detail::parts_kept> untold_;

    /// One of them is open, while the sink is.
    file file_;
    stream socket_;
    /// Of the line that comes next, so many bytes are written. Whoever is not told how many lines
    /// before it are must not find it set.
    std::size_t partial_ = 0;
};

} // namespace sapwood
