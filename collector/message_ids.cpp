#include "message_ids.hpp"

#include "json_decoder.hpp"
#include "line_form.hpp"

#include <sapwood/owned_fd.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

namespace sapwood::collector {

namespace {

/// Before the source there are a number, a checksum, a time, a producer and a level at most.
constexpr std::size_t before_source_max = 160;

/// How a form has what is looked for.
struct line_marks {
    /// Before the source's name, for the first time in a line.
    std::string_view source;
    /// Behind it, where something follows.
    std::string_view source_end;
    /// Between a name and its value.
    std::string_view value;
    /// Behind a value that has no quotes.
    std::string_view value_end;
};

constexpr line_marks marks_of(log_form form) noexcept {
    switch (form) {
    case log_form::json:
        return {R"("from":")", R"(",")", R"(":)", {}};
    case log_form::logfmt:
        return {R"( from=")", R"(" )", "=", " "};
    case log_form::text:
        break;
    }
    return {"[", " ", "=", " ]"}; // nothing before the source has a bracket
}

/// The length of a value, with the quotes that it may have.
std::size_t value_bytes(std::string_view text, std::string_view end) noexcept {
    if (!text.starts_with('"')) {
        return std::min(text.find_first_of(end), text.size());
    }
    for (std::size_t i = 1; i < text.size(); ++i) {
        if (text[i] == '\\') {
            ++i;
        } else if (text[i] == '"') {
            return i + 1;
        }
    }
    return text.size();
}

struct log_file {
    std::string path;
    std::filesystem::file_time_type written;
};

/// Those that the log was rotated into, the newest first: its name, a dot or a dash, and digits.
std::vector<log_file> rotated_files_of(const std::string& path) {
    namespace fs = std::filesystem;
    const fs::path whole(path);
    const std::string base = whole.filename().string();
    const fs::path folder = whole.has_parent_path() ? whole.parent_path() : fs::path(".");
    std::vector<log_file> found;
    std::error_code failed;
    for (fs::directory_iterator at(folder, failed), end; !failed && at != end;
         at.increment(failed)) {
        const std::string name = at->path().filename().string();
        if (name.size() < base.size() + 2 || !name.starts_with(base)) {
            continue;
        }
        const std::string_view rest = std::string_view(name).substr(base.size());
        const bool is_rotated = (rest[0] == '.' || rest[0] == '-') &&
                                rest.find_first_not_of("0123456789TZ.-", 1) == rest.npos;
        std::error_code unknown;
        if (is_rotated && at->is_regular_file(unknown)) {
            found.push_back({at->path().string(), at->last_write_time(unknown)});
        }
    }
    std::ranges::sort(found, std::ranges::greater(), &log_file::written);
    return found;
}

/// Where the lines of a file of `size` bytes end: behind them there may be zeros, space that its
/// writer has made.
std::size_t end_of_lines(const owned_fd& file, off_t size) {
    std::vector<char> piece(64u << 10);
    while (size > 0) {
        const auto wanted = std::min<off_t>(size, static_cast<off_t>(piece.size()));
        const ssize_t got =
            ::pread(file.fd(), piece.data(), static_cast<std::size_t>(wanted), size - wanted);
        if (got != wanted) {
            break; // read_end_of says why
        }
        const auto read = std::string_view(piece.data(), static_cast<std::size_t>(wanted));
        if (const auto last = read.find_last_not_of('\0'); last != read.npos) {
            return static_cast<std::size_t>(size - wanted) + last + 1;
        }
        size -= wanted;
    }
    return static_cast<std::size_t>(size);
}

/// Closed where there is none.
owned_fd open_log(const std::string& path) {
    owned_fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file.is_open() && errno != ENOENT) {
        throw std::system_error(errno, std::generic_category(),
                                "cannot read which messages are in " + path);
    }
    return file;
}

/// Less than `bytes` where the file has become shorter.
std::string read_at(const owned_fd& file, const std::string& path, std::size_t bytes,
                    std::size_t place) {
    std::string text(bytes, '\0');
    std::size_t done = 0;
    while (done < bytes) {
        const ssize_t got =
            ::pread(file.fd(), text.data() + done, bytes - done, static_cast<off_t>(place + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            throw std::system_error(errno, std::generic_category(),
                                    "cannot read which messages are in " + path);
        }
        if (got == 0) {
            break;
        }
        done += static_cast<std::size_t>(got);
    }
    text.resize(done);
    return text;
}

/// Reads files from their ends on, in pieces, and keeps the ids of a queue that it finds.
class ids_behind {
  public:
    ids_behind(log_form form, std::string begin, const recent_lines_limits& limits,
               const std::atomic<bool>* told_to_end)
        : form_(form),
          begin_(std::move(begin)),
          limits_(limits),
          told_to_end_(told_to_end) {}

    [[nodiscard]] bool has_enough() const noexcept {
        return (told_to_end_ != nullptr && told_to_end_->load(std::memory_order_relaxed)) ||
               newest_first_.size() >= limits_.ids || bytes_ >= limits_.bytes_most ||
               (bytes_ >= limits_.bytes && newest_first_.size() >= limits_.ids_least);
    }

    /// Nothing where it is not there.
    void read(const std::string& path) {
        const owned_fd file = open_log(path);

        struct stat found {};

        if (!file.is_open() || ::fstat(file.fd(), &found) != 0 || !S_ISREG(found.st_mode)) {
            return;
        }
        std::string behind; // the end of a line, of which the piece before has the begin
        std::size_t left = end_of_lines(file, found.st_size);
        bool ends_open = true; // what has no newline is no line yet
        while (left > 0 && !has_enough()) {
            const std::size_t most = std::min(limits_.piece_bytes, limits_.bytes_most - bytes_);
            const std::size_t wanted = std::min(left, most);
            std::string text = read_at(file, path, wanted, left - wanted);
            if (text.size() < wanted) {
                return;
            }
            left -= wanted;
            bytes_ += wanted;
            if (ends_open) {
                const auto last = text.rfind('\n');
                text.resize(last == text.npos ? 0 : last + 1);
                ends_open = last == text.npos;
            }
            text += behind;
            const auto first = text.find('\n');
            const std::size_t whole = left == 0 ? 0 : first == text.npos ? text.size() : first + 1;
            add(std::string_view(text).substr(whole));
            behind = text.substr(0, whole);
            if (behind.size() > line_begin_max) {
                behind.resize(line_begin_max);
                behind += '\n';
            }
        }
    }

    void give_to(amqp::recent_ids& ids) const {
        for (auto each = newest_first_.rbegin(); each != newest_first_.rend(); ++each) {
            (void)ids.insert(*each);
        }
    }

  private:
    /// Of a line, that have its id.
    static constexpr std::size_t line_begin_max = 16u << 10;

    void add(std::string_view lines) {
        const auto before = static_cast<std::ptrdiff_t>(newest_first_.size());
        for (auto end = lines.find('\n'); end != lines.npos; end = lines.find('\n')) {
            const std::string_view id = message_id_of(form_, lines.substr(0, end));
            if (id.starts_with(begin_)) {
                newest_first_.emplace_back(id);
            }
            lines.remove_prefix(end + 1);
        }
        std::reverse(newest_first_.begin() + before, newest_first_.end());
    }

    const log_form form_;
    const std::string begin_;
    const recent_lines_limits limits_;
    const std::atomic<bool>* const told_to_end_;
    std::vector<std::string> newest_first_;
    std::size_t bytes_ = 0;
};

/// What stands before a message's id and its name.
std::string begin_of_id(log_form form, std::string_view queue) {
    std::string text(queue);
    text += marks_of(form).source_end;
    return text;
}

} // namespace

void put_message_id(log_form form, std::string_view queue, std::string_view id, std::string& to) {
    to.clear();
    if (id.empty()) {
        return;
    }
    to = queue;
    switch (form) {
    case log_form::text:
        to += marks_of(form).source_end;
        append_text_note({message_id_name, id}, to);
        break;
    case log_form::json:
        to += "\",";
        append_json_member(message_id_name, id, to);
        break;
    case log_form::logfmt:
        to += marks_of(form).source_end;
        to += message_id_name;
        to += '=';
        append_logfmt_text(id, to);
        break;
    }
}

std::string_view message_id_of(log_form form, std::string_view line) noexcept {
    const line_marks marks = marks_of(form);
    const std::size_t source = line.substr(0, before_source_max).find(marks.source);
    if (source == line.npos) {
        return {};
    }
    std::string_view rest = line.substr(source + marks.source.size());
    if (!rest.starts_with(queue_source_prefix)) {
        return {};
    }
    // The queue's name, a word, ends where its source does: at a space, a bracket or a quote.
    rest.remove_prefix(queue_source_prefix.size());
    const std::string_view whole = rest;
    rest.remove_prefix(std::min(rest.find_first_of(" ]\""), rest.size()));
    if (!rest.starts_with(marks.source_end)) {
        return {};
    }
    rest.remove_prefix(marks.source_end.size());
    const std::size_t value = rest.find(marks.value);
    if (!rest.starts_with(message_id_name) || value == rest.npos) { // or message_id_escaped
        return {};
    }
    const std::size_t begin = value + marks.value.size();
    const std::string_view behind =
        rest.substr(begin + value_bytes(rest.substr(begin), marks.value_end));
    return whole.substr(0, whole.size() - behind.size());
}

void read_message_ids(const std::string& path, log_form form, std::string_view queue,
                      const recent_lines_limits& limits, amqp::recent_ids& to,
                      const std::atomic<bool>* told_to_end) {
    ids_behind found(form, begin_of_id(form, queue), limits, told_to_end);
    found.read(path);
    for (const log_file& each :
         found.has_enough() ? std::vector<log_file>() : rotated_files_of(path)) {
        if (found.has_enough()) {
            break;
        }
        found.read(each.path);
    }
    found.give_to(to);
}

} // namespace sapwood::collector
