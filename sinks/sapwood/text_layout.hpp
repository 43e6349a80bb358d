// text_layout: a record as a line of text, by a pattern of spdlog's flags. What depends on the time
// to the millisecond only, and what depends on who logs only, is rendered once and copied.
#pragma once

#include <sapwood/log_record.hpp>

#include <array>
#include <cstdint>
#include <ctime>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood {

enum class log_time_zone : std::uint8_t { utc, local };

/// `2026-11-21 22:39:56.123 1234 info server.db message key=value`, the logger's name where it has
/// one.
inline constexpr std::string_view default_log_pattern = "%Y-%m-%d %H:%M:%S.%e %t %l %*%v";

struct text_layout_options {
    /// Flags, each after a `%`, with a width before it where it is to be padded (`%8l` to the
    /// right, `%-8l` to the left, `%=8l` in the middle), and a `!` behind the width where what is
    /// longer is to be cut (`%-8!l`):
    ///
    ///     v  message and fields      n  logger         l  level         L  level's first letter
    ///     t  thread's number         N  thread's name  k  task's name   P  process's number
    ///     Y m d H M S  time          y C a A b B h I p T X R D x c r  as spdlog has them
    ///     e f F  milli-, micro-, nanoseconds of the second     E  seconds since 1970
    ///     z  offset from UTC, +01:00     q  record's number in its thread
    ///     O o i u  seconds, milli-, micro-, nanoseconds since the record before in this output
    ///     s  source file's name      g  its path       #  line          !  function   @  file:line
    ///     ^ $  begin and end of the colour of the level, where the sink shows colours
    ///     *  logger's name and a space, nothing for the root     %  a percent sign
    ///     +  `[%Y-%m-%d %H:%M:%S.%e] [%n] [%^%l%$] %v`, spdlog's own default
    ///
    /// The message is escaped (see escape.hpp): a record is one line.
    std::string_view pattern = default_log_pattern;
    log_time_zone zone = log_time_zone::utc;
    /// Whether `^` and `$` write ANSI colours.
    bool colour = false;
};

namespace detail {

/// One flag of a pattern, or a literal between them.
struct pattern_piece {
    enum class padding : std::uint8_t { none, left, right, centre };
    char flag = 0; // 0: literal
    padding pad = padding::none;
    std::uint8_t width = 0;
    bool is_cut = false; // to its width
    std::string text;
};

} // namespace detail

class text_layout final : public log_layout {
  public:
    /// Throws std::invalid_argument that names what is wrong with the pattern.
    explicit text_layout(const text_layout_options& options = {});

    void append(const log_record& record, log_buffer& to) override;
    void append_all(std::span<const log_record> records, log_buffer& to) override;
    void become_childs() override;

    [[nodiscard]] bool wants_location() const noexcept override { return wants_location_; }

    [[nodiscard]] bool wants_task() const noexcept override { return wants_task_; }

  private:
    using piece = detail::pattern_piece;

    /// Pieces that change together.
    struct run {
        enum class kind : std::uint8_t { time, source, message, other };
        kind what;
        std::vector<piece> pieces;
    };

    /// The text of a run for one moment or for one source.
    struct cached_text {
        std::uint64_t key = ~std::uint64_t{0};
        std::uint32_t size = 0;
        char bytes[60] = {};
    };

    /// All that stands before the message, where it depends on the millisecond and the source only.
    struct cached_head {
        std::uint64_t millisecond = ~std::uint64_t{0};
        std::uint64_t source = 0;
        std::uint64_t size = 0;
        char bytes[104] = {};
    };

    static run::kind kind_of(const piece& one) noexcept;
    void parse(std::string_view pattern);
    void add(piece one);
    void append_piece(const piece& one, const log_record& record, log_buffer& to);
    void append_flag(char flag, const log_record& record, log_buffer& to);
    void append_elapsed(char flag, const log_record& record, log_buffer& to) const;
    void append_time(char flag, const log_record& record, log_buffer& to);
    void append_cached(const run& pieces, std::uint64_t key, const log_record& record,
                       cached_text& text, log_buffer& to);
    void append_message(const log_record& record, log_buffer& to);
    [[nodiscard]] const cached_head* head_of(const log_record& record);
    [[nodiscard]] bool make_head(const log_record& record, std::uint64_t millisecond,
                                 std::uint64_t source, cached_head& head);

    log_time_zone zone_;
    bool colour_;
    bool wants_location_ = false;
    bool wants_task_ = false;
    std::vector<run> runs_;
    std::vector<cached_text> times_; // one for each run of time
    /// By thread, level and logger; as many for each run of sources.
    static constexpr std::size_t sources = 64;
    std::vector<std::array<cached_text, sources>> sources_;
    /// Where all before the message, which comes last, can be kept; empty otherwise.
    std::vector<cached_head> heads_;
    /// The millisecond of the last record: its begin, in nanoseconds, and its number.
    std::uint64_t millisecond_begin_ = 0;
    std::uint64_t millisecond_ = 0;
    log_buffer scratch_{256};
    /// The second that broken_down_ is.
    std::int64_t second_ = -1;
    std::tm broken_down_{};
    long offset_seconds_ = 0;
    /// Of the record before; 0 before the first.
    std::int64_t previous_ns_ = 0;
};

} // namespace sapwood
