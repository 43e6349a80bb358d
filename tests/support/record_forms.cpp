#include "support/record_forms.hpp"

#include <sapwood/escape.hpp>
#include <sapwood/json_layout.hpp>
#include <sapwood/log_ring.hpp>
#include <sapwood/log_write.hpp>
#include <sapwood/text_layout.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

namespace sapwood::test {

namespace {

using members = std::vector<std::pair<std::string, std::string>>;

/// Thrown where a line is not what the form's page says.
struct malformed : std::runtime_error {
    using std::runtime_error::runtime_error;
};

void require(bool holds, const char* what) {
    if (!holds) {
        throw malformed(what);
    }
}

int hex_digit(char c) {
    const auto found = std::string_view("0123456789abcdef").find(c);
    require(found != std::string_view::npos, "a hexadecimal digit");
    return static_cast<int>(found);
}

/// The documented escapes: `\\`, `\n`, `\r`, `\t`, `\xHH`.
std::string plain_of(std::string_view text) {
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\\') {
            plain += text[i];
            continue;
        }
        require(++i < text.size(), "something behind a backslash");
        switch (text[i]) {
        case '\\':
            plain += '\\';
            break;
        case 'n':
            plain += '\n';
            break;
        case 'r':
            plain += '\r';
            break;
        case 't':
            plain += '\t';
            break;
        case 'x':
            require(i + 2 < text.size(), "two digits");
            plain += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
            i += 2;
            break;
        default:
            throw malformed("an escape that is known");
        }
    }
    return plain;
}

/// What must not be seen as it is in any line, by a list of its own: UTF-8 of C0, DEL, C1, bidi
/// controls, separators, and what has no width.
std::string deceit_in(std::string_view line) {
    for (std::size_t i = 0; i < line.size(); ++i) {
        const auto byte = static_cast<unsigned char>(line[i]);
        if (byte < 0x20 || byte == 0x7f) {
            return fmt::format("a control character, {:#x}", byte);
        }
        for (const std::string_view bad :
             {"\xe2\x80\x8b", "\xe2\x80\x8e", "\xe2\x80\x8f", "\xe2\x80\xa8", "\xe2\x80\xa9",
              "\xe2\x80\xaa", "\xe2\x80\xae", "\xe2\x81\xa0", "\xe2\x81\xa6", "\xe2\x81\xa9",
              "\xef\xbb\xbf", "\xd8\x9c", "\xf3\xa0\x81\x81"}) {
            if (line.substr(i).starts_with(bad)) {
                return "a character that deceives";
            }
        }
        if (byte == 0xc2 && i + 1 < line.size() && static_cast<unsigned char>(line[i + 1]) < 0xa0) {
            return "a C1 control";
        }
    }
    return is_utf8(line) ? "" : "broken UTF-8";
}

// --- logfmt ---

/// `key=value key="value"`, values as they stand there.
members logfmt_members(std::string_view line) {
    members found;
    while (!line.empty()) {
        const auto equals = line.find('=');
        require(equals != line.npos && equals > 0, "key=");
        const std::string_view key = line.substr(0, equals);
        require(key.find_first_of(" \"") == key.npos, "a key without spaces and quotes");
        line.remove_prefix(equals + 1);
        std::string value;
        std::size_t end = 0;
        if (line.starts_with('"')) {
            for (end = 1; end < line.size() && line[end] != '"'; ++end) {
                if (line[end] == '\\' && end + 1 < line.size()) {
                    // A quote's backslash is the quotes', every other one the text's.
                    value += line[end + 1] == '"' ? "" : "\\";
                    ++end;
                }
                value += line[end];
            }
            require(end < line.size(), "a closing quote");
            ++end;
        } else {
            end = std::min(line.find(' '), line.size());
            value = line.substr(0, end);
            require(!value.empty() && value.find_first_of("\"=") == value.npos, "a bare value");
        }
        require(end == line.size() || line[end] == ' ', "a space between members");
        line.remove_prefix(std::min(end + 1, line.size()));
        found.emplace_back(plain_of(key), plain_of(value));
    }
    return found;
}

// --- JSON: an object of strings, numbers, booleans and one object more ---

class json_reader {
  public:
    explicit json_reader(std::string_view text) : text_(text) {}

    /// Members of "fields" have names that begin with "fields/".
    members read() {
        members found;
        object("", found);
        require(at_ == text_.size(), "the end of the object");
        return found;
    }

  private:
    [[nodiscard]] char next() {
        require(at_ < text_.size(), "more text");
        return text_[at_++];
    }

    void expect(char c) { require(next() == c, "another character"); }

    void object(const std::string& prefix, members& found) {
        expect('{');
        while (true) {
            const std::string name = string();
            expect(':');
            require(at_ < text_.size(), "a value");
            if (text_[at_] == '{') {
                require(prefix.empty() && name == "fields", "no other object");
                object("fields/", found);
            } else if (text_[at_] == '"') {
                found.emplace_back(prefix + name, string());
            } else {
                const auto end = text_.find_first_of(",}", at_);
                require(end != text_.npos, "the end of a number");
                found.emplace_back(prefix + name, text_.substr(at_, end - at_));
                require(found.back().second.find_first_not_of("0123456789+-.etruefals") ==
                            std::string::npos,
                        "a number or a boolean");
                at_ = end;
            }
            const char behind = next();
            if (behind == '}') {
                return;
            }
            require(behind == ',', "a comma");
        }
    }

    unsigned unit() {
        unsigned code = 0;
        for (int i = 0; i < 4; ++i) {
            code = code * 16 + static_cast<unsigned>(hex_digit(next()));
        }
        return code;
    }

    static void append_utf8(std::uint32_t code, std::string& to) {
        const auto put = [&](std::uint32_t byte) { to += static_cast<char>(byte); };
        if (code < 0x80) {
            put(code);
        } else if (code < 0x800) {
            put(0xc0 | code >> 6);
            put(0x80 | (code & 0x3f));
        } else if (code < 0x10000) {
            put(0xe0 | code >> 12);
            put(0x80 | (code >> 6 & 0x3f));
            put(0x80 | (code & 0x3f));
        } else {
            put(0xf0 | code >> 18);
            put(0x80 | (code >> 12 & 0x3f));
            put(0x80 | (code >> 6 & 0x3f));
            put(0x80 | (code & 0x3f));
        }
    }

    std::string string() {
        std::string text;
        expect('"');
        for (char c = next(); c != '"'; c = next()) {
            if (c != '\\') {
                text += c;
                continue;
            }
            const char kind = next();
            if (kind == '"' || kind == '\\') {
                text += kind;
                continue;
            }
            require(kind == 'u', "an escape that JSON has");
            std::uint32_t code = unit();
            if (code >= 0xd800 && code < 0xdc00) {
                expect('\\');
                expect('u');
                code = 0x10000 + ((code - 0xd800) << 10) + (unit() - 0xdc00);
            }
            append_utf8(code, text);
        }
        return text;
    }

    std::string_view text_;
    std::size_t at_ = 0;
};

/// The text of a member that may be escaped, by its name; a missing one is nothing.
std::optional<std::string> json_text(const members& all, const std::string& name) {
    std::optional<std::string> text;
    for (const auto& [key, value] : all) {
        if (key == name) {
            require(!text, "one member of that name");
            text = value;
        } else if (key == name + "_escaped") {
            require(!text, "one member of that name");
            text = plain_of(value);
        }
    }
    return text;
}

// --- a record, and what each form makes of it ---

class rendered {
  public:
    explicit rendered(const hostile_record& from)
        : thread_{.id = 17, .ordinal = 1, .name = std::string(from.thread_name)} {
        add(detail::log_field_kind::location, "", "file.cpp:3");
        add(detail::log_field_kind::task, "", from.task);
        add(detail::log_field_kind::text, from.key, from.value);
        add(detail::log_field_kind::number, "n", "-1.5e+10");
        record_.emplace(log_record{.when = {},
                                   .importance = level::warning,
                                   .is_known_plain = false,
                                   .is_truncated = from.is_truncated,
                                   .message = from.message,
                                   .logger = from.logger,
                                   .logger_id = 1,
                                   .thread = thread_,
                                   .sequence = 0,
                                   .fields = fields_});
    }

    /// The line without its end.
    std::string by(log_layout&& form) const {
        log_buffer to(64);
        form.append(*record_, to);
        std::string line(to.text());
        require(line.ends_with('\n') && line.find('\n') == line.size() - 1, "exactly one line");
        line.pop_back();
        const std::string deceit = deceit_in(line);
        require(deceit.empty(), deceit.c_str());
        return line;
    }

    std::string by_pattern(std::string_view pattern) const {
        return by(text_layout({.pattern = pattern}));
    }

  private:
    void add(detail::log_field_kind kind, std::string_view key, std::string_view value) {
        detail::append_field(fields_,
                             detail::log_field_text(key, kind, detail::log_view_text(value)));
    }

    log_thread thread_;
    std::string fields_;
    std::optional<log_record> record_;
};

void check_text(const hostile_record& from, const rendered& lines) {
    require(plain_of(lines.by_pattern("%n")) == from.logger, "the logger's name back");
    require(plain_of(lines.by_pattern("%N")) == from.thread_name, "the thread's name back");
    require(plain_of(lines.by_pattern("%k")) == from.task, "the task's name back");
    std::string line = lines.by_pattern("%v");
    std::string message(from.message);
    std::string escaped;
    escape(message, escaped);
    require(line.starts_with(escaped), "the message first");
    require(plain_of(line.substr(0, escaped.size())) == from.message, "the message back");
    line.erase(0, escaped.size());
    require(line.starts_with(" \\(cut) ") == from.is_truncated, "the mark where it is cut only");
    line.erase(0, from.is_truncated ? 8 : 1);
    members fields = logfmt_members(line);
    require(fields.size() == 2 && fields[1] == std::pair<std::string, std::string>("n", "-1.5e+10"),
            "the fields");
    require(fields[0].first == (from.key.empty() ? "_" : from.key) &&
                fields[0].second == from.value,
            "key and value back");
}

void check_logfmt(const hostile_record& from, const rendered& lines) {
    const members all = logfmt_members(lines.by(logfmt_layout()));
    members expected{{"level", "warning"}, {"thread", "17"}};
    if (!from.logger.empty()) {
        expected.emplace_back("logger", from.logger);
    }
    expected.emplace_back("location", "file.cpp:3");
    expected.emplace_back("task", from.task);
    if (from.is_truncated) {
        expected.emplace_back("cut", "true");
    }
    expected.emplace_back("message", from.message);
    require(all.size() == expected.size() + 3 && all[0].first == "time", "all members");
    for (std::size_t i = 0; i < expected.size(); ++i) {
        require(all[i + 1] == expected[i], "each member, in its place");
    }
    std::string key = all[all.size() - 2].first;
    for (const std::string_view own : {"time", "level", "thread", "logger", "location", "function",
                                       "task", "cut", "message", "own"}) {
        require(key != own, "no user's key that is the form's");
    }
    key = key.starts_with("fields.") ? key.substr(7) : key;
    require(key == (from.key.empty() ? "_" : from.key) && all[all.size() - 2].second == from.value,
            "key and value back");
}

void check_json(const hostile_record& from, const rendered& lines) {
    const members all = json_reader(lines.by(json_layout())).read();
    require(json_text(all, "level") == "warning", "the level");
    require(json_text(all, "message") == from.message, "the message back");
    require(json_text(all, "logger").value_or("") == from.logger, "the logger's name back");
    require(json_text(all, "task") == from.task, "the task's name back");
    require(json_text(all, "cut").has_value() == from.is_truncated, "cut where it is cut only");
    require(!json_text(all, "own"), "nothing that the log says itself");
    const auto& [name, value] = all[all.size() - 2];
    require(name.starts_with("fields/"), "a field");
    const bool is_escaped = name.ends_with("_escaped");
    const std::string key = name.substr(7, name.size() - 7 - (is_escaped ? 8 : 0));
    require(plain_of(key) == from.key, "the key back");
    require((is_escaped ? plain_of(value) : value) == from.value, "the value back");
    require(all.back() == std::pair<std::string, std::string>("fields/n", "-1.5e+10"), "a number");
}

} // namespace

std::string forms_violation(const hostile_record& given) {
    hostile_record record = given;
    record.key = record.key.substr(0, detail::log_key_bytes_max); // longer ones are cut
    const char* form = "text";
    try {
        const rendered lines(record);
        check_text(record, lines);
        form = "logfmt";
        check_logfmt(record, lines);
        form = "JSON";
        check_json(record, lines);
    } catch (const malformed& error) {
        return fmt::format("{}: expected {}", form, error.what());
    }
    return "";
}

std::string escape_violation(std::string_view text) {
    std::string escaped;
    escape(text, escaped);
    try {
        if (const auto deceit = deceit_in(escaped); !deceit.empty()) {
            return "escape() leaves " + deceit;
        }
        if (unescape(escaped) != text || plain_of(escaped) != text) {
            return "unescape() does not undo escape()";
        }
    } catch (const std::exception& error) {
        return fmt::format("unescape() refuses what escape() made: {}", error.what());
    }
    if (is_plain(text) && escaped != text) {
        return "is_plain() holds for what escape() changes";
    }
    try {
        const std::string undone = unescape(text);
        std::string again;
        escape(undone, again);
        if (again != text) {
            return "unescape() takes what escape() cannot have made";
        }
    } catch (const std::invalid_argument&) { // it is not escaped
    }
    return "";
}

std::string ring_violation(std::string_view bytes) {
    using namespace sapwood::detail;
    constexpr std::size_t data_bytes = 4096;
    constexpr std::size_t ring_bytes =
        sizeof(log_ring_header) + data_bytes + log_ring_header::slack_bytes;
    // On the heap, so that a sanitizer sees what is outside.
    const std::unique_ptr<void, decltype(&std::free)> memory(
        std::aligned_alloc(alignof(log_ring_header), ring_bytes), &std::free);
    std::memset(memory.get(), 0, ring_bytes);
    auto& header = *::new (memory.get()) log_ring_header{};
    std::memcpy(static_cast<void*>(&header), bytes.data(), std::min(bytes.size(), ring_bytes));
    if (!is_log_ring(memory.get(), ring_bytes)) {
        // So that what is behind the constant part is looked at, too.
        header.magic = log_ring_header::magic_value;
        header.version = log_ring_header::version_value;
        header.header_bytes = sizeof(log_ring_header);
        header.data_bytes = data_bytes;
        if (!is_log_ring(memory.get(), ring_bytes)) {
            return "a ring is not known as one";
        }
    }
    if (header.data_bytes != data_bytes) {
        return "a ring is larger than its memory";
    }
    const char* const begin = static_cast<const char*>(memory.get()) + sizeof(log_ring_header);
    log_ring_reader reader(header);
    text_layout text;
    json_layout json;
    const log_thread thread{.id = 1, .ordinal = 1, .name = {}};
    std::size_t taken = 0;
    for (int round = 0; round < 2 && reader.begin(); ++round) {
        while (const auto* const frame = reader.front()) {
            const char* const at = reinterpret_cast<const char*>(frame);
            const char* const end = at + frame->bytes;
            if (at < begin || end > begin + data_bytes || frame->bytes < sizeof(log_frame)) {
                return "a frame is not within the ring";
            }
            const char* const message = at + sizeof(log_frame);
            const std::size_t padding = frame->flags >> log_frame::padding_shift;
            if (message + frame->message_bytes + padding > end) {
                return "a message is not within its frame";
            }
            const std::string_view fields(message + frame->message_bytes,
                                          frame->bytes - sizeof(log_frame) - padding -
                                              frame->message_bytes);
            log_buffer to(64);
            for (log_layout* const form :
                 {static_cast<log_layout*>(&text), static_cast<log_layout*>(&json)}) {
                form->append({.when = {},
                              .importance = static_cast<level>(frame->importance),
                              .is_known_plain = false,
                              .is_truncated = false,
                              .message = {message, frame->message_bytes},
                              .logger = "app",
                              .logger_id = 1,
                              .thread = thread,
                              .sequence = frame->sequence,
                              .fields = fields},
                             to);
            }
            const std::string_view lines = to.text();
            if (std::count(lines.begin(), lines.end(), '\n') != 2) {
                return "a frame is more than a line";
            }
            taken += frame->bytes;
            reader.pop(*frame);
        }
        reader.end();
        if (taken > data_bytes) {
            return "more was taken than is in a ring";
        }
    }
    // And a writer that finds it so: its own place it knows, be the rest anything.
    header.head.store(header.head.load() & 0xffff'fff8);
    log_ring_writer writer(header);
    for (int i = 0; i < 4; ++i) {
        bool half_full = false;
        char* place = writer.reserve(64);
        place = place != nullptr ? place : writer.reserve_slowly(64, half_full);
        if (place != nullptr) {
            if (place < begin || place + 64 > begin + data_bytes) {
                return "room is not within the ring";
            }
            std::memset(place, 'x', 64);
            writer.commit(64);
        } else if (!writer.drop_oldest(64)) {
            break;
        }
    }
    return "";
}

} // namespace sapwood::test
