#include <sapwood/journal_log_sink.hpp>

#include <sapwood/log_action_view.hpp>
#include <sapwood/syslog_layout.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <iterator>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace sapwood {

namespace {

using detail::log_field_kind;
using detail::log_field_view;

constexpr std::size_t name_bytes_max = 64;

/// What systemd.journal-fields(7) gives a meaning to, and what this sink writes.
constexpr std::array<std::string_view, 25> taken_names{
    "CODE_FILE",
    "CODE_FUNC",
    "CODE_LINE",
    "COREDUMP_UNIT",
    "COREDUMP_USER_UNIT",
    "CUT",
    "OWN",
    "DOCUMENTATION",
    "ERRNO",
    "INVOCATION_ID",
    "LOGGER",
    "MESSAGE",
    "MESSAGE_ID",
    "PRIORITY",
    "SYSLOG_FACILITY",
    "SYSLOG_IDENTIFIER",
    "SYSLOG_PID",
    "SYSLOG_RAW",
    "SYSLOG_TIMESTAMP",
    "TASK",
    "TID",
    "TIMESTAMP",
    "UNIT",
    "USER_INVOCATION_ID",
    "USER_UNIT",
};

void append_value(std::string_view value, log_buffer& to) {
    constexpr std::string_view escaped("\n\0\\", 3);
    while (true) {
        const auto at = std::min(value.find_first_of(escaped), value.size());
        to.append(value.substr(0, at));
        if (at == value.size()) {
            return;
        }
        const char c = value[at];
        to.push_back('\\');
        to.push_back(c == '\n' ? 'n' : c == '\0' ? '0' : '\\');
        value.remove_prefix(at + 1);
    }
}

void append_field(std::string_view name, std::string_view value, log_buffer& to) {
    to.append(name);
    to.push_back('=');
    append_value(value, to);
    to.push_back('\0');
}

std::string to_upper(std::string_view text) {
    std::string made(text);
    std::ranges::transform(made, made.begin(), [](char c) {
        return c >= 'a' && c <= 'z' ? static_cast<char>(c - ('a' - 'A')) : c;
    });
    return made;
}

/// Of a name in upper case: whether a record's place in an action has it.
bool is_actions_own(std::string_view name) {
    std::string lower(name);
    std::ranges::transform(lower, lower.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
    });
    return detail::is_action_name(lower);
}

class journal_layout final : public log_layout {
  public:
    journal_layout(std::string ident, bool location)
        : ident_(std::move(ident)),
          wants_location_(location) {}

    void append(const log_record& record, log_buffer& to) override {
        append_field("MESSAGE", record.message, to);
        // Fields, which no message can forge: it is kept as it is.
        if (record.is_truncated) {
            append_field("CUT", "true", to);
        }
        if (record.is_own()) {
            append_field("OWN", "true", to);
        }
        fmt::format_to(std::back_inserter(to), "PRIORITY={}", syslog_severity(record.importance));
        to.push_back('\0');
        append_field("SYSLOG_IDENTIFIER", ident_, to);
        fmt::format_to(std::back_inserter(to), "TID={}", record.thread.id);
        to.push_back('\0');
        if (!record.logger.empty()) {
            append_field("LOGGER", record.logger, to);
        }
        detail::for_each_field(record.fields,
                               [&](const log_field_view& field) { append_users_field(field, to); });
        detail::for_each_action_text(detail::log_action_view::of(record.fields),
                                     [&](std::string_view name, std::string_view text) {
                                         append_field(to_upper(name), text, to);
                                     });
        time_.append(record, to); // ends with the newline
    }

    bool wants_location() const noexcept override { return wants_location_; }

  private:
    static void append_users_field(const log_field_view& field, log_buffer& to) {
        switch (field.kind) {
        case log_field_kind::location: {
            const auto colon = std::min(field.value.rfind(':'), field.value.size());
            append_field("CODE_FILE", field.value.substr(0, colon), to);
            if (colon < field.value.size()) {
                append_field("CODE_LINE", field.value.substr(colon + 1), to);
            }
            return;
        }
        case log_field_kind::function:
            append_field("CODE_FUNC", field.value, to);
            return;
        case log_field_kind::task:
            append_field("TASK", field.value, to);
            return;
        case log_field_kind::text:
        case log_field_kind::number:
        case log_field_kind::boolean:
            append_field(journal_field_name(field.key), field.value, to);
            return;
        default: // the record's time and thread, or its place in an action
            return;
        }
    }

    const std::string ident_;
    const bool wants_location_;
    text_layout time_{{.pattern = "TIMESTAMP=%Y-%m-%dT%H:%M:%S.%FZ"}};
};

std::string journal_ident(const journal_log_sink_options& options) {
    return options.ident.empty() ? program_name() : options.ident;
}

/// Calls `take` with the pieces of a field's value in a line.
template <class Take>
void for_each_piece(std::string_view text, Take take) {
    while (!text.empty()) {
        const auto plain = std::min(text.find('\\'), text.size());
        if (plain > 0) {
            take(text.substr(0, plain));
        }
        if (plain + 1 < text.size()) {
            const char c = text[plain + 1];
            take(c == 'n'   ? std::string_view("\n")
                 : c == '0' ? std::string_view("\0", 1)
                            : text.substr(plain + 1, 1));
        }
        text.remove_prefix(std::min(plain + 2, text.size()));
    }
}

/// An entry that is made in a crash: in memory that is there. What does not fit is left out, whole
/// fields of it.
class crash_entry {
  public:
    void clear() noexcept { size_ = 0; }

    [[nodiscard]] bool has_room(std::size_t bytes) const noexcept {
        return bytes <= sizeof(memory_) - size_;
    }

    void operator+=(std::string_view text) noexcept {
        const std::size_t bytes = std::min(text.size(), sizeof(memory_) - size_);
        std::memcpy(memory_ + size_, text.data(), bytes);
        size_ += bytes;
    }

    void operator+=(char c) noexcept { memory_[size_++] = c; }

    [[nodiscard]] std::string_view text() const noexcept { return {memory_, size_}; }

  private:
    char memory_[256u << 10] = {};
    std::size_t size_ = 0;
};

/// For the one handler that works at a time. Memory that is not used costs nothing.
constinit crash_entry entry_in_crash{};

bool has_room(const std::string&, std::size_t) noexcept {
    return true;
}

bool has_room(const crash_entry& in, std::size_t bytes) noexcept {
    return in.has_room(bytes);
}

/// `NAME=value\n`, or, where the value has newlines, `NAME\n`, its size in 64 bits, little-endian,
/// itself, `\n`.
template <class To>
void append_entry_field(std::string_view field, To& to) {
    constexpr std::size_t size_bytes = 8;
    const auto equals = field.find('=');
    if (equals == std::string_view::npos || !has_room(to, field.size() + size_bytes + 2)) {
        return;
    }
    const std::string_view escaped = field.substr(equals + 1);
    bool has_newline = false;
    std::uint64_t size = 0;
    for_each_piece(escaped, [&](std::string_view piece) {
        has_newline = has_newline || piece == "\n";
        size += piece.size();
    });
    to += field.substr(0, equals);
    if (!has_newline) {
        to += '=';
    } else {
        to += '\n';
        for (unsigned shift = 0; shift < 8 * size_bytes; shift += 8) {
            to += static_cast<char>(size >> shift & 0xff);
        }
    }
    for_each_piece(escaped, [&](std::string_view piece) { to += piece; });
    to += '\n';
}

/// The entry of a line.
template <class To>
void append_entry(std::string_view line, To& to) {
    while (!line.empty()) {
        const auto end = std::min(line.find('\0'), line.size());
        append_entry_field(line.substr(0, end), to);
        line.remove_prefix(std::min(end + 1, line.size()));
    }
}

/// A sealed memory file that holds `bytes`; empty, errno set, where there is none.
owned_fd sealed_memory(std::string_view bytes) noexcept {
    owned_fd memory(::memfd_create("sapwood-journal", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    while (memory.is_open() && !bytes.empty()) {
        const auto written = ::write(memory.fd(), bytes.data(), bytes.size());
        if (written < 0 && errno != EINTR) {
            return {};
        }
        bytes.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(written, 0)));
    }
    if (memory.is_open() &&
        ::fcntl(memory.fd(), F_ADD_SEALS,
                F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0) {
        return {};
    }
    return memory;
}

} // namespace

std::string journal_field_name(std::string_view key) {
    std::string name;
    for (const char c : key) {
        const bool is_lower = c >= 'a' && c <= 'z';
        const bool is_kept = (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        name += is_lower ? static_cast<char>(c - ('a' - 'A')) : is_kept ? c : '_';
    }
    const auto first = name.find_first_not_of('_');
    name.erase(0, std::min(first, name.size())); // the journal keeps those for itself
    const bool is_bad = name.empty() || (name[0] >= '0' && name[0] <= '9') ||
                        std::ranges::find(taken_names, name) != taken_names.end() ||
                        name.starts_with("OBJECT_") || is_actions_own(name);
    name.insert(0, is_bad ? "FIELD_" : "");
    return name.substr(0, name_bytes_max);
}

journal_log_sink::journal_log_sink(journal_log_sink_options options)
    : datagram_log_sink(
          {.give_up_after = options.give_up_after, .must_connect = options.must_connect}),
      options_(std::move(options)) {
    before_last_words = fmt::format("PRIORITY={}\nSYSLOG_IDENTIFIER={}\nMESSAGE=", LOG_CRIT,
                                    journal_ident(options_));
    behind_last_words += '\n'; // gcc 12 warns of what = would do
}

std::string journal_log_sink::describe() const {
    return fmt::format("journal {}", options_.path);
}

std::unique_ptr<log_layout> journal_log_sink::default_form() const {
    return std::make_unique<journal_layout>(journal_ident(options_), options_.location);
}

task<socket> journal_log_sink::connect() {
    co_return connect_now(endpoint::unix_path(options_.path), SOCK_DGRAM);
}

void journal_log_sink::encode(std::string_view line, std::string& to) {
    append_entry(line, to);
}

bool journal_log_sink::send_in_crash(int fd, std::string_view line) noexcept {
    if (!line.starts_with("MESSAGE=")) { // a plain one, which begins with the time
        return datagram_log_sink::send_in_crash(fd, line);
    }
    entry_in_crash.clear();
    append_entry(line, entry_in_crash);
    const std::string_view made = entry_in_crash.text();
    return ::send(fd, made.data(), made.size(), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 ||
           (errno == EMSGSIZE && send_long(fd, made) == 0);
}

int journal_log_sink::send_long(int fd, std::string_view datagram) {
    const owned_fd memory = sealed_memory(datagram);
    if (!memory.is_open()) {
        return errno;
    }
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    const int passed = memory.fd();
    std::memcpy(CMSG_DATA(header), &passed, sizeof(passed));
    return ::sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 ? 0 : errno;
}

} // namespace sapwood
