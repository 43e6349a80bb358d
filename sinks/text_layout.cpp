#include <sapwood/text_layout.hpp>

#include <sapwood/decimal.hpp>
#include <sapwood/log_escape.hpp>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <fmt/format.h>
#include <iterator>
#include <unistd.h>
#include <utility>

namespace sapwood {

namespace {

constexpr std::array<std::string_view, 7> colours{
    "\x1b[37m",        "\x1b[36m",        "\x1b[32m", "\x1b[33m\x1b[1m",
    "\x1b[31m\x1b[1m", "\x1b[1m\x1b[41m", ""};
constexpr std::string_view colour_end = "\x1b[0m";

std::string_view find_field(const log_record& record, detail::log_field_kind kind) {
    std::string_view found;
    detail::for_each_field(record.fields, [&](const detail::log_field_view& field) {
        if (field.kind == kind) {
            found = field.value;
        }
    });
    return found;
}

/// A location in the ring is `path:line`.
std::pair<std::string_view, std::string_view> split_location(std::string_view location) noexcept {
    const auto colon = location.rfind(':');
    return colon == std::string_view::npos
               ? std::pair{location, std::string_view()}
               : std::pair{location.substr(0, colon), location.substr(colon + 1)};
}

void append_digits(unsigned value, unsigned digits, log_buffer& to) {
    fmt::format_to(std::back_inserter(to), "{:0{}}", value, digits);
}

constexpr std::size_t text_sources = 64;

/// Who logs, and at which level.
std::uint64_t source_of(const log_record& record) noexcept {
    return std::uint64_t{record.thread.ordinal} << 32 | std::uint64_t{record.logger_id} << 8 |
           static_cast<std::uint64_t>(record.importance);
}

/// Where its text is kept.
std::size_t slot_of(const log_record& record) noexcept {
    return (record.thread.ordinal * 7 + record.logger_id * 5 + std::size_t(record.importance)) %
           text_sources;
}

/// Time stamps before 1970 are no log's.
std::int64_t since_epoch_ns(const log_record& record) noexcept {
    return std::max<std::int64_t>(record.when.time_since_epoch().count(), 0);
}

} // namespace

text_layout::text_layout(const text_layout_options& options)
    : zone_(options.zone),
      colour_(options.colour) {
    static_assert(sources == text_sources);
    if (zone_ == log_time_zone::local) {
        ::tzset(); // localtime_r does not look at TZ again
    }
    parse(options.pattern);
    const auto is_kept = [](const run& each) {
        return each.what == run::kind::time || each.what == run::kind::source;
    };
    if (!runs_.empty() && runs_.back().what == run::kind::message &&
        std::all_of(runs_.begin(), runs_.end() - 1, is_kept)) {
        heads_.resize(sources);
    }
}

void text_layout::become_childs() {
    std::ranges::fill(times_, cached_text());
    for (auto& each : sources_) {
        each.fill(cached_text());
    }
    std::ranges::fill(heads_, cached_head());
}

/// Most lines are a head that was rendered for another one already, and a message to be copied.
void text_layout::append_all(std::span<const log_record> records, log_buffer& to) {
    if (heads_.empty()) {
        log_layout::append_all(records, to);
        return;
    }
    for (const log_record& each : records) {
        const cached_head* const head = head_of(each);
        if (head == nullptr || !each.fields.empty() || each.is_truncated || each.is_own() ||
            (!each.is_known_plain && !is_plain(each.message))) [[unlikely]] {
            append(each, to);
            continue;
        }
        char* at = to.room(sizeof(cached_head) + each.message.size() + 1);
        std::memcpy(at, head->bytes, 48); // fixed sizes need no call
        if (head->size > 48) [[unlikely]] {
            std::memcpy(at + 48, head->bytes + 48, sizeof(head->bytes) - 48);
        }
        at += head->size;
        std::memcpy(at, each.message.data(), each.message.size());
        at += each.message.size();
        *at++ = '\n';
        to.take(at);
    }
}

/// Null where it is too long to be kept.
inline const text_layout::cached_head* text_layout::head_of(const log_record& record) {
    const auto ns = static_cast<std::uint64_t>(since_epoch_ns(record));
    if (ns - millisecond_begin_ >= 1'000'000) [[unlikely]] {
        millisecond_ = ns / 1'000'000;
        millisecond_begin_ = millisecond_ * 1'000'000;
    }
    const std::uint64_t source = source_of(record);
    cached_head& head = heads_[slot_of(record)];
    if ((head.millisecond != millisecond_ || head.source != source) &&
        !make_head(record, millisecond_, source, head)) [[unlikely]] {
        return nullptr;
    }
    return &head;
}

bool text_layout::make_head(const log_record& record, std::uint64_t millisecond,
                            std::uint64_t source, cached_head& head) {
    log_buffer text(2 * sizeof(head.bytes));
    std::size_t time_run = 0;
    std::size_t source_run = 0;
    for (std::size_t i = 0; i + 1 < runs_.size(); ++i) {
        if (runs_[i].what == run::kind::time) {
            append_cached(runs_[i], millisecond, record, times_[time_run++], text);
        } else {
            append_cached(runs_[i], source, record, sources_[source_run++][slot_of(record)], text);
        }
    }
    if (text.size() > sizeof(head.bytes)) {
        return false;
    }
    head = {.millisecond = millisecond, .source = source, .size = text.size()};
    text.text().copy(head.bytes, text.size());
    return true;
}

void text_layout::append(const log_record& record, log_buffer& to) {
    const auto millisecond = static_cast<std::uint64_t>(since_epoch_ns(record)) / 1'000'000;
    const std::uint64_t source = source_of(record);
    const std::size_t slot = slot_of(record);
    std::size_t time_run = 0;
    std::size_t source_run = 0;
    for (const run& each : runs_) {
        switch (each.what) {
        case run::kind::time:
            append_cached(each, millisecond, record, times_[time_run++], to);
            break;
        case run::kind::source:
            append_cached(each, source, record, sources_[source_run++][slot], to);
            break;
        case run::kind::message:
            append_message(record, to);
            break;
        case run::kind::other:
            for (const piece& one : each.pieces) {
                append_piece(one, record, to);
            }
            break;
        }
    }
    to.push_back('\n');
    previous_ns_ = since_epoch_ns(record);
}

void text_layout::append_cached(const run& pieces, std::uint64_t key, const log_record& record,
                                cached_text& text, log_buffer& to) {
    if (text.key != key) [[unlikely]] {
        scratch_.cut(0);
        for (const piece& one : pieces.pieces) {
            append_piece(one, record, scratch_);
        }
        if (scratch_.size() > sizeof(text.bytes)) {
            to.append(scratch_.text());
            return;
        }
        text.size = static_cast<std::uint32_t>(scratch_.text().copy(text.bytes, scratch_.size()));
        text.key = key;
    }
    char* const place = to.room(sizeof(text.bytes));
    std::memcpy(place, text.bytes, sizeof(text.bytes)); // a fixed size needs no call
    to.take(place + text.size);
}

void text_layout::append_message(const log_record& record, log_buffer& to) {
    if (record.is_known_plain || is_plain(record.message)) [[likely]] {
        char* const place = to.room(record.message.size() + 1);
        to.take(place + record.message.copy(place, record.message.size())); // it may be null
    } else {
        detail::append_escaped(record.message, to);
    }
    if (record.is_truncated) [[unlikely]] {
        to.append(log_record::cut_mark);
    }
    if (!record.fields.empty()) {
        detail::append_logfmt_fields(record.fields, to);
        detail::append_action_texts(record.fields, to);
    }
    if (record.is_own()) [[unlikely]] {
        to.append(log_record::own_mark);
    }
}

void text_layout::append_piece(const piece& one, const log_record& record, log_buffer& to) {
    if (one.flag == 0) {
        to.append(one.text);
        return;
    }
    const std::size_t before = to.size();
    append_flag(one.flag, record, to);
    const std::size_t size = to.size() - before;
    if (one.pad == piece::padding::none || size >= one.width) {
        if (one.is_cut) {
            to.cut(before + detail::cut_at_character(to.text().substr(before), one.width).size());
        }
        return;
    }
    const std::string text(to.text().substr(before));
    const std::size_t spaces = one.width - size;
    const std::size_t left = one.pad == piece::padding::right    ? spaces
                             : one.pad == piece::padding::centre ? spaces / 2
                                                                 : 0;
    to.cut(before);
    to.append(std::string(left, ' '));
    to.append(text);
    to.append(std::string(spaces - left, ' '));
}

void text_layout::append_flag(char flag, const log_record& record, log_buffer& to) {
    using detail::append_escaped;
    using detail::log_field_kind;
    switch (flag) {
    case 'v':
        append_message(record, to);
        return;
    case 'n':
        append_escaped(record.logger, to);
        return;
    case '*':
        if (!record.logger.empty()) {
            append_escaped(record.logger, to);
            to.push_back(' ');
        }
        return;
    case 'l':
        to.append(to_string(record.importance));
        return;
    case 'L':
        to.push_back(static_cast<char>(to_string(record.importance)[0] - ('a' - 'A')));
        return;
    case 't':
        fmt::format_to(std::back_inserter(to), "{}", record.thread.id);
        return;
    case 'N':
        append_escaped(record.thread.name, to);
        return;
    case 'P':
        fmt::format_to(std::back_inserter(to), "{}", ::getpid());
        return;
    case 'q':
        fmt::format_to(std::back_inserter(to), "{}", record.sequence);
        return;
    case '^':
        if (colour_) {
            to.append(colours[std::min<std::size_t>(std::size_t(record.importance), 6)]);
        }
        return;
    case '$':
        if (colour_) {
            to.append(colour_end);
        }
        return;
    case 'k':
        append_escaped(find_field(record, log_field_kind::task), to);
        return;
    case '!':
        append_escaped(find_field(record, log_field_kind::function), to);
        return;
    case 's':
    case 'g':
    case '@':
    case '#': {
        const auto [path, line] = split_location(find_field(record, log_field_kind::location));
        if (flag == '#') {
            to.append(line);
            return;
        }
        append_escaped(flag == 'g' ? path : path.substr(path.rfind('/') + 1), to);
        if (flag == '@') {
            to.push_back(':');
            to.append(line);
        }
        return;
    }
    case 'O':
    case 'o':
    case 'i':
    case 'u':
        append_elapsed(flag, record, to);
        return;
    default:
        append_time(flag, record, to);
    }
}

void text_layout::append_elapsed(char flag, const log_record& record, log_buffer& to) const {
    const std::int64_t now = since_epoch_ns(record);
    const std::int64_t since =
        previous_ns_ == 0 ? 0 : std::max<std::int64_t>(now - previous_ns_, 0);
    const int unit = flag == 'O'   ? 1'000'000'000
                     : flag == 'o' ? 1'000'000
                     : flag == 'i' ? 1'000
                                   : 1;
    fmt::format_to(std::back_inserter(to), "{}", since / unit);
}

void text_layout::append_time(char flag, const log_record& record, log_buffer& to) {
    const std::int64_t ns = since_epoch_ns(record);
    const std::int64_t second = ns / 1'000'000'000;
    const auto rest = static_cast<unsigned>(ns % 1'000'000'000);
    if (second != second_) {
        const std::time_t time = second;
        zone_ == log_time_zone::utc ? ::gmtime_r(&time, &broken_down_)
                                    : ::localtime_r(&time, &broken_down_);
        offset_seconds_ = broken_down_.tm_gmtoff;
        second_ = second;
    }
    switch (flag) {
    case 'e':
        append_digits(rest / 1'000'000, 3, to);
        return;
    case 'f':
        append_digits(rest / 1'000, 6, to);
        return;
    case 'F':
        append_digits(rest, 9, to);
        return;
    case 'E':
        fmt::format_to(std::back_inserter(to), "{}", second);
        return;
    case 'z': {
        const long minutes = std::abs(offset_seconds_) / 60;
        fmt::format_to(std::back_inserter(to), "{}{:02}:{:02}", offset_seconds_ < 0 ? '-' : '+',
                       minutes / 60, minutes % 60);
        return;
    }
    default:
        break;
    }
    // spdlog's `C` is the year's last two digits, strftime's the century.
    const char format[] = {'%', flag == 'C' ? 'y' : flag, '\0'};
    char text[64];
    to.append({text, std::strftime(text, sizeof(text), format, &broken_down_)});
}

} // namespace sapwood
