#include "task_text.hpp"

#include "time_span.hpp"

#include <sapwood/log_escape.hpp>

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <iterator>

namespace sapwood::tools {

/// What is drawn with.
struct task_text::signs {
    std::string_view fork;
    std::string_view last;
    std::string_view vertical;
    std::string_view nothing;
    std::string_view arrow;
    std::string_view hourglass;
    std::string_view more_lines;
    std::string_view failed;
    std::string_view left_out;
};

namespace {

constexpr std::string_view colours_of_trees[] = {"",         "\x1b[2m",    "\x1b[1m", "\x1b[36m",
                                                 "\x1b[32m", "\x1b[1;31m", "\x1b[33m"};
/// Levels that are longer are shown without their middle.
constexpr std::size_t level_shown_max = 24;
constexpr std::size_t level_end_shown = 8;

/// Of what ids of tasks are made of: UUIDs and the like.
bool is_of_word(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && std::strchr("-_.:/@", c) != nullptr);
}

} // namespace

void time_printer::append(std::int64_t ns, log_buffer& to) {
    const std::int64_t second = ns / nanoseconds_per_second; // none is before 1970
    if (second != second_) {
        second_ = second;
        text_ = time_text(second * nanoseconds_per_second, 3);
    }
    const std::int64_t milliseconds = ns / 1'000'000 % 1000;
    char* const digits = text_.data() + text_.size() - 3;
    digits[0] = static_cast<char>('0' + milliseconds / 100);
    digits[1] = static_cast<char>('0' + milliseconds / 10 % 10);
    digits[2] = static_cast<char>('0' + milliseconds % 10);
    to.append(text_);
}

void append_level(std::span<const std::uint32_t> level, std::string_view left_out, log_buffer& to) {
    for (std::size_t i = 0; i < level.size(); ++i) {
        if (level.size() > level_shown_max && i == level_end_shown) {
            to.push_back('/');
            to.append(left_out);
            i = level.size() - level_end_shown;
        }
        to.push_back('/');
        const fmt::format_int digits(level[i]);
        to.append({digits.data(), digits.size()});
    }
}

task_text::task_text(const task_text_options& options, tool_output& output)
    : options_(options),
      signs_([&]() -> const signs& {
          static constexpr signs unicode{"├── ", "└── ", "│   ", "    ", " ⇒ ",
                                         " ⧖ ",  "┊ ",   "✗ ",   "…"};
          static constexpr signs ascii{"|-- ",  "+-- ", "|   ", "    ", " => ",
                                       " |Y| ", ": ",   "!! ",  "..."};
          return options.ascii ? ascii : unicode;
      }()),
      output_(output),
      to_(output.buffer()) {}

void task_text::put(paint how, std::string_view text) {
    if (options_.colour && how != paint::plain) {
        to_.append(colours_of_trees[static_cast<std::size_t>(how)]);
        to_.append(text);
        to_.append(colour_end);
    } else {
        to_.append(text);
    }
}

void task_text::begin_line(bool is_last) {
    const std::string_view branch = is_last ? signs_.last : signs_.fork;
    if (options_.colour) {
        to_.append(colours_of_trees[static_cast<std::size_t>(paint::faint)]);
        to_.append(prefix_);
        to_.append(branch);
        to_.append(colour_end);
    } else {
        to_.append(prefix_);
        to_.append(branch);
    }
}

void task_text::push(bool is_last) {
    steps_.push_back(prefix_.size());
    if (steps_.size() <= depth_shown_max) {
        prefix_ += is_last ? signs_.nothing : signs_.vertical;
    }
}

void task_text::pop() noexcept {
    prefix_.resize(steps_.back());
    steps_.pop_back();
}

void task_text::begin_task(const action_task& task, const task_state& state, std::string_view) {
    put_id(task.id());
    if (state.parts_before > 0) {
        put(paint::odd,
            fmt::format(" (part {}: more of a task that is above)", state.parts_before + 1));
    }
    if (state.is_cut) {
        put(paint::odd, " (cut here: unfinished tasks take more than --memory)");
    } else if (!state.is_complete && (state.parts_before == 0 || state.follows_complete)) {
        put(paint::odd, " (incomplete)");
    }
    if (task.is_contradictory()) {
        put(paint::odd, " (contradicts itself)");
    }
    to_.push_back('\n');
}

void task_text::begin_action(const shown_action& action) {
    const shown_record& begin = action.begin;
    begin_line(begin.is_last);
    put_name(begin.type);
    put_level(begin.level);
    if (action.has_start) {
        to_.append(signs_.arrow);
        put(action.has_end ? paint::plain : paint::odd, "started");
        put_time(begin.time_ns);
    }
    if (action.duration_ns) {
        const bool is_slow = options_.slow_ns && *action.duration_ns >= *options_.slow_ns;
        to_.append(signs_.hourglass);
        put(is_slow ? paint::odd : paint::plain, span_text(*action.duration_ns));
    }
    if (action.outcome > action_record::role::success) {
        to_.push_back(' ');
        put_outcome(action.outcome);
    }
    if (action.unknown_around > 0) {
        put(paint::odd, fmt::format(" (of {} action{} around it nothing is here)",
                                    action.unknown_around, action.unknown_around == 1 ? "" : "s"));
    }
    to_.push_back('\n');
    push(begin.is_last);
    put_fields(begin.fields, action.has_more);
}

void task_text::show(const shown_record& record) {
    using role = action_record::role;
    begin_line(record.is_last);
    put_name(record.type);
    put_level(record.level);
    if (record.is != role::message) {
        to_.append(signs_.arrow);
        put_outcome(record.is);
    } else if (!record.importance.empty()) {
        to_.push_back(' ');
        const auto importance = parse_level(record.importance);
        to_.append(options_.colour && importance ? colour_of(*importance) : std::string_view());
        append_shown(record.importance, to_);
        to_.append(options_.colour && importance ? colour_end : std::string_view());
    }
    put_time(record.time_ns);
    if (record.is_rival) {
        put(paint::odd, " (another record has this place as well)");
    }
    to_.push_back('\n');
    push(record.is_last);
    put_fields(record.fields, false);
    pop();
    output_.flush_if_large();
}

void task_text::note(std::string_view text, bool is_last) {
    begin_line(is_last);
    put(paint::odd, fmt::format("({})", text));
    to_.push_back('\n');
}

void task_text::end_action() {
    pop();
    output_.flush_if_large();
}

void task_text::end_task() {
    to_.push_back('\n');
    output_.flush_if_large();
}

/// Nothing is drawn before it, so what could be a line of a tree, or have something behind it that
/// begin_task() says, is quoted.
void task_text::put_id(std::string_view id) {
    const bool is_word = std::ranges::all_of(id, is_of_word);
    if (options_.colour) {
        to_.append(colours_of_trees[static_cast<std::size_t>(paint::bold)]);
    }
    if (is_word) {
        to_.append(id);
    } else {
        to_.push_back('"');
        for (std::size_t end = 0; !id.empty(); id.remove_prefix(end)) {
            end = std::min(id.find('"', 1), id.size());
            to_.append(id.front() == '"' ? "\\" : "");
            detail::append_escaped(id.substr(0, end), to_);
        }
        to_.push_back('"');
    }
    if (options_.colour) {
        to_.append(colour_end);
    }
}

void task_text::put_name(std::string_view type) {
    if (type.empty()) {
        put(paint::odd, "<unnamed>");
        return;
    }
    if (options_.colour) {
        to_.append(colours_of_trees[static_cast<std::size_t>(paint::bold)]);
    }
    const std::size_t shown =
        options_.value_bytes_max == 0 ? type.size() : options_.value_bytes_max;
    detail::append_escaped(detail::cut_at_character(type, shown), to_);
    if (type.size() > shown) {
        to_.append(signs_.left_out);
    }
    if (options_.colour) {
        to_.append(colour_end);
    }
}

void task_text::put_level(std::span<const std::uint32_t> level) {
    if (options_.colour) {
        to_.append(colours_of_trees[static_cast<std::size_t>(paint::faint)]);
    }
    append_level(level, signs_.left_out, to_);
    if (options_.colour) {
        to_.append(colour_end);
    }
}

void task_text::put_time(std::optional<std::int64_t> ns) {
    if (!ns) {
        return;
    }
    to_.push_back(' ');
    if (options_.colour) {
        to_.append(colours_of_trees[static_cast<std::size_t>(paint::faint)]);
    }
    times_.append(*ns, to_);
    if (options_.colour) {
        to_.append(colour_end);
    }
}

void task_text::put_outcome(action_record::role is) {
    using role = action_record::role;
    switch (is) {
    case role::message:
        return;
    case role::start:
        to_.append("started");
        return;
    case role::success:
        put(paint::good, "succeeded");
        return;
    case role::failure:
        put(paint::bad, std::string(signs_.failed) + "failed");
        return;
    case role::cancelled:
        put(paint::odd, std::string(signs_.failed) + "cancelled");
        return;
    }
}

void task_text::put_fields(const std::vector<record_field>& fields, bool has_more) {
    are_last_.assign(fields.size(), false);
    // From the end: whether one of that depth has been met since one that is less deep was.
    std::uint64_t met = has_more ? 1 : 0;
    for (std::size_t i = fields.size(); i-- > 0;) {
        const std::uint64_t mine = std::uint64_t{1} << fields[i].depth;
        are_last_[i] = (met & mine) == 0;
        met = (met & (mine - 1)) | mine;
    }
    const std::size_t base = steps_.size();
    for (std::size_t i = 0; i < fields.size(); ++i) {
        while (steps_.size() > base + fields[i].depth) {
            pop();
        }
        put_field(fields[i], are_last_[i]);
        if (fields[i].is == record_field::kind::nest) {
            push(are_last_[i]);
        }
        output_.flush_if_large();
    }
    while (steps_.size() > base) {
        pop();
    }
}

void task_text::put_field(const record_field& field, bool is_last) {
    if (field.is == record_field::kind::left_out) {
        note(field.value, is_last);
        return;
    }
    begin_line(is_last);
    if (options_.colour) {
        to_.append(colours_of_trees[static_cast<std::size_t>(paint::key)]);
    }
    detail::append_escaped(field.key, to_);
    to_.push_back(':');
    if (options_.colour) {
        to_.append(colour_end);
    }
    put_value(field, is_last);
    to_.push_back('\n');
}

void task_text::put_value(const record_field& field, bool is_last) {
    if (field.is == record_field::kind::nest) {
        return;
    }
    std::string_view value = field.value;
    if (options_.value_bytes_max != 0) {
        value = detail::cut_at_character(value, options_.value_bytes_max);
    }
    const std::size_t left_out = field.value.size() - value.size();
    to_.push_back(' ');
    for (bool is_first = true;; is_first = false) {
        const std::size_t newline =
            field.is == record_field::kind::text ? value.find('\n') : value.npos;
        const std::string_view line = value.substr(0, newline);
        if (!is_first) {
            to_.push_back('\n');
            to_.append(prefix_);
            to_.append(is_last ? signs_.nothing : signs_.vertical);
            to_.append(signs_.more_lines);
        }
        if (field.is == record_field::kind::text) {
            detail::append_escaped(line, to_);
        } else {
            append_shown(line, to_);
        }
        if (newline == value.npos || newline + 1 == value.size()) {
            break;
        }
        value.remove_prefix(newline + 1);
    }
    if (left_out != 0) {
        put(paint::faint, fmt::format("{} ({} bytes more)", signs_.left_out, left_out));
    }
}

} // namespace sapwood::tools
