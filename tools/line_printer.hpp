// How tools show the lines of a log: as text whatever form they have, as JSON, or as they are. What
// could do something to a terminal, or deceive who reads, is escaped.
#pragma once

#include "log_line.hpp"

#include <sapwood/log_record.hpp>

#include <string>
#include <string_view>

namespace sapwood::tools {

enum class line_style : std::uint8_t {
    /// As sapwood writes text, without number and checksum.
    text,
    /// An object a line, without them; lines of JSON are passed on.
    json,
    /// The bytes of the file; on a terminal escaped all the same.
    raw,
};

/// Standard output, in large pieces.
class tool_output {
  public:
    [[nodiscard]] log_buffer& buffer() noexcept { return buffer_; }

    /// Writes what there is. Throws std::system_error, EPIPE where nobody reads any more.
    void flush();

    /// The same where there is much.
    void flush_if_large() {
        if (buffer_.size() >= large_bytes) {
            flush();
        }
    }

    [[nodiscard]] static bool is_terminal() noexcept;

  private:
    static constexpr std::size_t large_bytes = 64u << 10;

    log_buffer buffer_{2 * large_bytes};
};

/// Whether to colour, by what `--color` says: always, never, or auto, which is on a terminal where
/// NO_COLOR is not set.
[[nodiscard]] bool wants_colour(std::string_view when);

class line_printer {
  public:
    line_printer(line_style style, bool colour, log_buffer& to);

    /// Appends the line, with a newline; `whole` is how it stands in the file, `line` what `parser`
    /// has parsed of it just now.
    void print(std::string_view whole, const log_line& line, line_parser& parser);

  private:
    void print_text(const log_line& line, line_parser& parser);
    void print_rendered(const log_line& line, line_parser& parser);
    void print_json(const log_line& line, line_parser& parser);
    void print_level(level importance);

    line_style style_;
    bool colour_;
    bool is_terminal_;
    log_buffer& to_;
};

/// What begins the colour of a level on a terminal, and what ends any.
[[nodiscard]] std::string_view colour_of(level importance) noexcept;
inline constexpr std::string_view colour_end = "\x1b[0m";

/// What is safe to be shown: as escape() has it, but backslashes stay as they are, since what is in
/// a log has been escaped already.
void append_shown(std::string_view text, log_buffer& to);

/// A text of JSON, in quotes. What is not UTF-8 is escaped before.
void append_json_text(std::string_view text, log_buffer& to);

} // namespace sapwood::tools
