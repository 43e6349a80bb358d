#include "task_html.hpp"

#include "task_html_page.hpp"
#include "time_span.hpp"

#include <sapwood/escape.hpp>
#include <sapwood/log_escape.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <iterator>

namespace sapwood::tools {

namespace {

/// The class of what has come out so.
std::string_view class_of(action_record::role is, bool has_end) noexcept {
    using role = action_record::role;
    return is == role::failure     ? "bad"
           : is == role::cancelled ? "odd"
           : is == role::success   ? "ok"
           : has_end               ? ""
                                   : "open";
}

std::string_view word_of(action_record::role is) noexcept {
    using role = action_record::role;
    return is == role::failure     ? "failed"
           : is == role::cancelled ? "cancelled"
           : is == role::success   ? "succeeded"
           : is == role::start     ? "started"
                                   : "";
}

/// The first tasks are open, and of others those in which something went wrong, unless there are
/// many.
constexpr std::size_t opened_first = 10;
constexpr std::size_t opened_max = 100;
constexpr std::size_t name_bytes_max = 500;

template <class... Args>
void put(log_buffer& to, fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(to), format, std::forward<Args>(args)...);
}

} // namespace

task_html::task_html(const task_text_options& options, tool_output& output)
    : options_(options),
      output_(output),
      to_(output.buffer()) {}

void task_html::begin_page(std::string_view title) {
    to_.append(html_begin);
    put_text(title);
    to_.append("</title>\n</head>\n<body>\n<h1>");
    put_text(title);
    to_.append("</h1>");
    to_.append(html_choices);
}

void task_html::end_page(std::string_view summary) {
    to_.append("</main>\n<footer>");
    put_text(summary);
    to_.append("</footer>\n</body>\n</html>\n");
}

/// Escaped as everywhere, but newlines, which stay, and then for HTML.
void task_html::put_text(std::string_view text) {
    for (;;) {
        const std::size_t newline = text.find('\n');
        const std::string_view line = text.substr(0, newline);
        if (is_plain(line)) {
            put_known(line);
        } else {
            escaped_.clear();
            escape(line, escaped_);
            put_known(escaped_);
        }
        if (newline == text.npos) {
            return;
        }
        to_.push_back('\n');
        text.remove_prefix(newline + 1);
    }
}

/// What has been escaped, or JSON.
void task_html::put_shown(std::string_view text) {
    if (is_plain(text)) {
        put_known(text);
        return;
    }
    log_buffer shown(text.size());
    append_shown(text, shown);
    put_known(shown.text());
}

/// What has no control character.
void task_html::put_known(std::string_view text) {
    for (;;) {
        const std::size_t at = text.find_first_of("&<>\"'");
        to_.append(text.substr(0, at));
        if (at == text.npos) {
            return;
        }
        switch (text[at]) {
        case '&':
            to_.append("&amp;");
            break;
        case '<':
            to_.append("&lt;");
            break;
        case '>':
            to_.append("&gt;");
            break;
        case '"':
            to_.append("&quot;");
            break;
        default:
            to_.append("&#39;");
        }
        text.remove_prefix(at + 1);
    }
}

void task_html::begin_task(const action_task& task, const task_state& state,
                           std::string_view name) {
    const bool lacks = !state.is_complete || state.parts_before > 0 || task.is_contradictory();
    const bool is_open = task.has_failed() || lacks ? opened_ < opened_max : opened_ < opened_first;
    opened_ += is_open ? 1 : 0;
    first_ns_ = task.first_ns().value_or(0);
    span_ns_ = task.last_ns().value_or(0) - first_ns_;
    depth_ = 0;
    put(to_, "<details class=\"task{}{}\"{}><summary>", task.has_failed() ? " bad" : "",
        lacks ? " lacks" : "", is_open ? " open" : "");
    to_.append("<strong>");
    put_text(detail::cut_at_character(name, name_bytes_max));
    to_.append("</strong> <code>");
    put_text(task.id());
    to_.append("</code>");
    if (task.first_ns()) {
        to_.append(" <time>");
        times_.append(first_ns_, to_);
        to_.append("</time>");
        if (span_ns_ > 0) {
            put(to_, " <u>{}</u>", span_text(span_ns_));
        }
    }
    put(to_, " <i>{} record{}</i>", task.records(), task.records() == 1 ? "" : "s");
    if (task.has_failed()) {
        put_outcome(action_record::role::failure);
    }
    if (lacks) {
        put(to_, " <span class=\"w odd\">{}</span>",
            state.is_cut             ? "cut here: unfinished tasks take more than --memory"
            : state.parts_before > 0 ? "more of a task that is above"
            : !state.is_complete     ? "incomplete"
                                     : "contradicts itself");
    }
    put(to_,
        "</summary><div>\n<div class=\"r\"><span class=\"h\"></span><span class=\"l x\">{}</span>"
        "</div>\n",
        span_text(span_ns_));
}

void task_html::begin_action(const shown_action& action) {
    const shown_record& begin = action.begin;
    const bool is_nested = ++depth_ <= depth_shown_max;
    to_.append(is_nested ? "<details class=\"a\" open><summary>"
                         : "<div class=\"m e\"><div class=\"r\">");
    put_head(begin);
    put_outcome(action.outcome);
    if (action.duration_ns) {
        const bool is_slow = options_.slow_ns && *action.duration_ns >= *options_.slow_ns;
        to_.append(is_slow ? " <u class=\"slow\">" : " <u>");
        to_.append(span_text(*action.duration_ns));
        to_.append("</u>");
    }
    if (!action.has_end) {
        to_.append(" <span class=\"w odd\">no end</span>");
    }
    if (action.unknown_around > 0) {
        put(to_, " <span class=\"w odd\">of {} action{} around it nothing is here</span>",
            action.unknown_around, action.unknown_around == 1 ? "" : "s");
    }
    to_.append("</span>");
    const std::int64_t last = first_ns_ + span_ns_;
    put_span(begin.time_ns.value_or(first_ns_), action.end_ns.value_or(last),
             class_of(action.outcome, action.has_end));
    to_.append(is_nested ? "</summary>\n" : "</div>\n");
    put_fields(begin.fields);
    if (!is_nested) {
        to_.append("</div>\n");
    }
}

void task_html::show(const shown_record& record) {
    const bool is_message = record.is == action_record::role::message;
    if (!is_message && record.fields.empty() && !record.is_rival) {
        return; // the action says it
    }
    to_.append(is_message ? "<div class=\"m\"><div class=\"r\">"
                          : "<div class=\"m e\"><div class=\"r\">");
    put_head(record);
    put_outcome(record.is);
    if (record.is_rival) {
        to_.append(" <span class=\"w odd\">another record has this place as well</span>");
    }
    to_.append("</span>");
    if (record.time_ns) {
        put_span(*record.time_ns, *record.time_ns, "tick");
    }
    to_.append("</div>\n");
    put_fields(record.fields);
    to_.append("</div>\n");
    output_.flush_if_large();
}

void task_html::note(std::string_view text, bool) {
    to_.append("<div class=\"n\">");
    put_text(text);
    to_.append("</div>\n");
}

void task_html::end_action() {
    if (depth_-- <= depth_shown_max) {
        to_.append("</details>\n");
    }
    output_.flush_if_large();
}

void task_html::end_task() {
    to_.append("</div></details>\n");
    output_.flush_if_large();
}

/// The row of it, as far as it is text; `</span>` ends it.
void task_html::put_head(const shown_record& record) {
    to_.append("<span class=\"h\"><strong>");
    put_text(record.type.empty() ? "<unnamed>"
                                 : detail::cut_at_character(record.type, name_bytes_max));
    to_.append("</strong><i>");
    put_level(record.level);
    to_.append("</i>");
    if (!record.importance.empty()) {
        to_.append(" <i>");
        put_text(record.importance);
        to_.append("</i>");
    }
    if (record.time_ns) {
        to_.append(" <time>");
        times_.append(*record.time_ns, to_);
        to_.append("</time>");
    }
}

void task_html::put_level(std::span<const std::uint32_t> level) {
    append_level(level, "…", to_);
}

void task_html::put_outcome(action_record::role is) {
    const std::string_view word = word_of(is);
    if (!word.empty()) {
        to_.append(" <span class=\"w ");
        to_.append(class_of(is, true));
        to_.append("\">");
        to_.append(word);
        to_.append("</span>");
    }
}

void task_html::put_span(std::int64_t begin, std::int64_t end, std::string_view kind) {
    const double all = static_cast<double>(span_ns_);
    // In hundredths of a hundredth: whole numbers take a fifth of the time.
    const auto share = [&](std::int64_t from, std::int64_t to, double otherwise) {
        const double part = 10'000 * static_cast<double>(to - from) / all;
        return static_cast<unsigned>(all > 0 ? std::clamp(part, 0., 10'000.) : otherwise);
    };
    const auto put_percent = [&](unsigned hundredths) {
        const fmt::format_int whole(hundredths / 100);
        to_.append({whole.data(), whole.size()});
        to_.push_back('.');
        to_.push_back(static_cast<char>('0' + hundredths / 10 % 10));
        to_.push_back(static_cast<char>('0' + hundredths % 10));
        to_.push_back('%');
    };
    const bool is_moment = kind == "tick";
    to_.append("<span class=\"l\"><b class=\"");
    to_.append(kind);
    to_.append("\" style=\"left:");
    put_percent(std::min(share(first_ns_, begin, 0), is_moment ? 9970U : 9950U));
    if (!is_moment) {
        to_.append(";width:");
        put_percent(share(begin, end, 10'000));
    }
    to_.append("\"></b></span>");
}

void task_html::put_fields(const std::vector<record_field>& fields) {
    if (fields.empty()) {
        return;
    }
    to_.append("<dl>");
    for (const record_field& each : fields) {
        if (each.depth == 0) {
            to_.append("<dt>");
        } else {
            put(to_, "<dt style=\"padding-left:{}ch\">", 2 * each.depth);
        }
        put_text(each.key);
        to_.append("</dt><dd>");
        std::string_view value = each.value;
        if (options_.value_bytes_max != 0) {
            value = detail::cut_at_character(value, options_.value_bytes_max);
        }
        each.is == record_field::kind::text ? put_text(value) : put_shown(value);
        if (value.size() < each.value.size()) {
            put(to_, "<i>… ({} bytes more)</i>", each.value.size() - value.size());
        }
        to_.append("</dd>");
        output_.flush_if_large();
    }
    to_.append("</dl>\n");
}

} // namespace sapwood::tools
