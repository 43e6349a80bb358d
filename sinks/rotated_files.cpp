#include "rotated_files.hpp"

#include "compress_file.hpp"
#include "log_tail.hpp"

#include <sapwood/numbered_line.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <ctime>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <set>
#include <sys/stat.h>
#include <system_error>
#include <tuple>
#include <unistd.h>

namespace sapwood::detail {

namespace {

constexpr std::string_view compressed_ending = ".zst";
constexpr std::string_view unfinished_ending = ".zst.tmp";

/// From the year 9999 on: no clock says so, and behind the last of them no name has its form.
constexpr log_milliseconds last_stamps{std::chrono::seconds(253'370'764'800)};

/// 20261126T141236.123Z
constexpr std::size_t stamp_chars = 20;

std::string stamp_of(log_milliseconds when) {
    const auto second = std::chrono::floor<std::chrono::seconds>(when);
    const auto count = static_cast<std::time_t>(second.time_since_epoch().count());
    std::tm utc{};
    ::gmtime_r(&count, &utc);
    return fmt::format("{:04}{:02}{:02}T{:02}{:02}{:02}.{:03}Z", utc.tm_year + 1900, utc.tm_mon + 1,
                       utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, (when - second).count());
}

int number(std::string_view digits) noexcept {
    int value = 0;
    for (const char c : digits) {
        value = 10 * value + (c - '0');
    }
    return value;
}

std::optional<log_milliseconds> parse_stamp(std::string_view stamp) {
    constexpr std::string_view form = "########T######.###Z";
    static_assert(form.size() == stamp_chars);
    for (std::size_t i = 0; i < stamp_chars; ++i) {
        const bool is_digit = stamp[i] >= '0' && stamp[i] <= '9';
        if (form[i] == '#' ? !is_digit : stamp[i] != form[i]) {
            return std::nullopt;
        }
    }
    std::tm utc{};
    utc.tm_year = number(stamp.substr(0, 4)) - 1900;
    utc.tm_mon = number(stamp.substr(4, 2)) - 1;
    utc.tm_mday = number(stamp.substr(6, 2));
    utc.tm_hour = number(stamp.substr(9, 2));
    utc.tm_min = number(stamp.substr(11, 2));
    utc.tm_sec = number(stamp.substr(13, 2));
    const log_milliseconds when{std::chrono::seconds(::timegm(&utc)) +
                                std::chrono::milliseconds(number(stamp.substr(16, 3)))};
    if (stamp_of(when) != stamp) { // the 31st of February
        return std::nullopt;
    }
    return when;
}

log_milliseconds modified(const struct ::stat& status) noexcept {
    return log_milliseconds{std::chrono::seconds(status.st_mtim.tv_sec) +
                            std::chrono::milliseconds(status.st_mtim.tv_nsec / 1'000'000)};
}

std::optional<std::uint64_t> number_in(std::string_view digits) noexcept {
    std::uint64_t value = 0;
    const auto [end, failed] = std::from_chars(digits.begin(), digits.end(), value);
    return failed == std::errc() && end == digits.end() ? std::optional(value) : std::nullopt;
}

struct found_file {
    std::string name;
    /// What it has in common with its compressed form.
    std::string key;
    log_milliseconds when;
    /// When it was last written to, at the latest.
    log_milliseconds written;
    rotated_file::kind what;
    std::uint64_t bytes;
    /// Of a segment.
    segment_name its;
};

struct first_line {
    /// 0 where it is the log's own.
    std::uint64_t number;
    std::string text;
};

/// The first numbered line at the begin of a segment; none where lines have no numbers.
std::optional<first_line> first_numbered(int folder, const std::string& name) {
    const int fd = ::openat(folder, name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return std::nullopt;
    }
    std::array<char, 4096> begin;
    const ssize_t bytes = ::pread(fd, begin.data(), begin.size(), 0);
    ::close(fd);
    std::string_view text(begin.data(), static_cast<std::size_t>(std::max<ssize_t>(bytes, 0)));
    while (text.size() >= numbered_line::head_bytes) {
        const auto line =
            numbered_line::parse(text.substr(0, numbered_line::head_bytes)); // not all of it
        const auto end = text.find('\n');
        if (line.is != numbered_line::state::foreign) {
            return first_line{to_number(line.place), std::string(text.substr(0, end))};
        }
        text.remove_prefix(end == text.npos ? text.size() : end + 1); // somebody else's
    }
    return std::nullopt;
}

/// In `files`, in the order of their numbers, each goes on where the one before it was set aside.
/// So they do not where a log that began anew has not come as far yet as its segments of before:
/// what lies between is in no file, and the files behind it are older. What has no number, or
/// cannot be read, says nothing; and where none has one, neither do the numbers of the names.
bool numbers_go_on(int folder, const std::vector<found_file>& files) {
    const found_file* before = nullptr;
    bool has_numbers = false;
    for (const found_file& each : files) {
        if (each.bytes < numbered_line::head_bytes) {
            continue; // it has no line
        }
        const auto first = first_numbered(folder, each.name);
        has_numbers = has_numbers || first;
        if (first && first->number != 0 && before != nullptr) {
            const std::uint64_t next = before->its.number;
            const bool is_behind_gap =
                first->number > next &&
                !tells_of_missing(first->text, {lsn{next}, lsn{first->number}});
            if (first->number < next || (is_behind_gap && each.when < before->when)) {
                return false;
            }
        }
        before = &each;
    }
    return has_numbers;
}

class house {
  public:
    house(const std::string& path, const house_rules& rules, const std::atomic<bool>& stop)
        : rules_(rules),
          stop_(stop) {
        const auto slash = path.rfind('/');
        folder_ = slash == path.npos ? "." : path.substr(0, slash + 1);
        base_ = slash == path.npos ? path : path.substr(slash + 1);
        fd_ = ::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd_ < 0) {
            throw std::system_error(errno, std::generic_category(), "cannot open " + folder_);
        }
    }

    house(const house&) = delete;
    house& operator=(const house&) = delete;

    ~house() { ::close(fd_); }

    [[nodiscard]] std::optional<log_milliseconds> newest() {
        list();
        for (; !files_.empty(); files_.pop_back()) {
            if (files_.back().when < last_stamps) {
                return files_.back().when;
            }
        }
        return std::nullopt;
    }

    house_report keep(std::chrono::system_clock::time_point now) {
        list();
        remove_leftovers();
        remove_old(now);
        compress();
        remove_surplus_bytes();
        return std::move(report_);
    }

  private:
    /// The rotated files, the oldest first.
    void list() {
        // fdopendir(3) takes the descriptor it is given.
        const int fd = ::openat(fd_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        const std::unique_ptr<DIR, int (*)(DIR*)> entries(fd >= 0 ? ::fdopendir(fd) : nullptr,
                                                          &::closedir);
        if (entries == nullptr) {
            throw std::system_error(errno, std::generic_category(), "cannot read " + folder_);
        }
        errno = 0;
        while (const dirent* const entry = ::readdir(entries.get())) {
            const std::string_view name = entry->d_name;
            std::optional<rotated_file> parsed;
            std::optional<segment_name> segment;
            if (rules_.named == aside_name::time) {
                parsed = parse_rotated_name(name, base_);
            } else if ((segment = parse_segment_name(name, base_))) {
                parsed = rotated_file{{}, rotated_file::kind::plain};
            }

            struct ::stat status {};

            if (parsed && ::fstatat(fd_, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
                S_ISREG(status.st_mode)) {
                const bool is_timed = rules_.named == aside_name::time;
                const std::string_view key =
                    is_timed ? name.substr(0, base_.size() + 1 + stamp_chars) : name;
                files_.push_back({std::string(name), std::string(key),
                                  is_timed ? parsed->when : modified(status), modified(status),
                                  parsed->what, static_cast<std::uint64_t>(status.st_size),
                                  segment.value_or(segment_name())});
            }
        }
        std::ranges::sort(files_, [](const found_file& one, const found_file& other) {
            return std::tie(one.its.number, one.its.repeated, one.name) <
                   std::tie(other.its.number, other.its.repeated, other.name);
        });
        if (rules_.named == aside_name::number && !numbers_go_on(fd_, files_)) {
            std::ranges::stable_sort(files_, {}, &found_file::when);
        }
    }

    /// What is being compressed has another process's name on it only if that one has our log.
    void remove_leftovers() {
        std::erase_if(files_, [&](const found_file& each) {
            return each.what == rotated_file::kind::unfinished && remove(each.name);
        });
        std::erase_if(files_, [](const found_file& each) {
            return each.what == rotated_file::kind::unfinished;
        });
    }

    /// By number and by age.
    void remove_old(std::chrono::system_clock::time_point now) {
        // In seconds, of which there are enough: nanoseconds end after 292 years.
        const auto second = std::chrono::floor<std::chrono::seconds>(now);
        const auto oldest_kept = second - rules_.keep_for;
        const auto present = std::chrono::floor<std::chrono::milliseconds>(now);
        // Of names that are times: what is behind a file was written later, whatever the clock has
        // said meanwhile.
        for (std::size_t i = files_.size(); i > 1; --i) {
            files_[i - 2].written = std::min(files_[i - 2].written, files_[i - 1].written);
        }
        std::set<std::string_view> all; // a file and its compressed form are one
        for (const auto& each : files_) {
            all.insert(each.key);
        }
        for (std::size_t left = all.size(); left > 0; --left) {
            const std::string key = files_.front().key;
            // A clock that is ahead gives names of a time to come, and all later ones are behind.
            const found_file& oldest = files_.front();
            const bool is_to_come = rules_.named == aside_name::time && oldest.when > present;
            const auto when = std::chrono::floor<std::chrono::seconds>(
                is_to_come ? std::min(oldest.when, oldest.written) : oldest.when);
            const bool too_many = rules_.keep_files > 0 && left > rules_.keep_files;
            const bool too_old = rules_.keep_for.count() > 0 && when < oldest_kept;
            if (!too_many && !too_old) {
                break;
            }
            remove_all_of(key);
        }
    }

    void remove_surplus_bytes() {
        if (rules_.keep_bytes == 0) {
            return;
        }
        std::uint64_t bytes = 0;
        for (const auto& each : files_) {
            bytes += each.bytes;
        }
        while (!files_.empty() && bytes > rules_.keep_bytes) {
            bytes -= files_.front().bytes;
            remove(files_.front().name);
            files_.erase(files_.begin());
        }
    }

    void compress() {
        if (!rules_.compress) {
            return;
        }
        for (auto& each : files_) {
            if (each.what != rotated_file::kind::plain) {
                continue;
            }
            try {
                const auto end = compress_file(fd_, each.name, rules_.compression_level, stop_);
                if (end == compression_end::stopped) {
                    return;
                }
                if (end == compression_end::in_use) {
                    continue; // after the next rotation
                }
                ++report_.compressed;
                each.name += compressed_ending;
                each.what = rotated_file::kind::compressed;
                if (end == compression_end::done_for_fewer) {
                    report_.for_fewer.push_back(each.name);
                }

                struct ::stat status {};

                if (::fstatat(fd_, each.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) {
                    each.bytes = static_cast<std::uint64_t>(status.st_size);
                }
            } catch (const std::exception& error) {
                report_.failures.push_back(
                    fmt::format("cannot compress {}{}: {}", folder_, each.name, error.what()));
            }
        }
    }

    void remove_all_of(const std::string& key) {
        std::erase_if(files_, [&](const found_file& each) {
            if (each.key != key) {
                return false;
            }
            remove(each.name);
            return true;
        });
    }

    bool remove(const std::string& name) {
        if (::unlinkat(fd_, name.c_str(), 0) == 0) {
            ++report_.removed;
            return true;
        }
        if (errno != ENOENT) {
            const std::system_error why(errno, std::generic_category(),
                                        fmt::format("cannot remove {}{}", folder_, name));
            report_.failures.emplace_back(why.what());
        }
        return false;
    }

    const house_rules& rules_;
    const std::atomic<bool>& stop_;
    std::string folder_;
    std::string base_;
    int fd_;
    std::vector<found_file> files_;
    house_report report_;
};

} // namespace

std::string rotated_name(std::string_view path, log_milliseconds when) {
    return fmt::format("{}.{}", path, stamp_of(when));
}

std::optional<rotated_file> parse_rotated_name(std::string_view name, std::string_view base) {
    if (!name.starts_with(base) || name.size() < base.size() + 1 + stamp_chars ||
        name[base.size()] != '.') {
        return std::nullopt;
    }
    const auto when = parse_stamp(name.substr(base.size() + 1, stamp_chars));
    const auto ending = name.substr(base.size() + 1 + stamp_chars);
    if (!when) {
        return std::nullopt;
    }
    if (ending.empty()) {
        return rotated_file{*when, rotated_file::kind::plain};
    }
    if (ending == compressed_ending) {
        return rotated_file{*when, rotated_file::kind::compressed};
    }
    if (ending == unfinished_ending) {
        return rotated_file{*when, rotated_file::kind::unfinished};
    }
    return std::nullopt;
}

std::optional<segment_name> parse_segment_name(std::string_view name, std::string_view base) {
    constexpr std::size_t digits_min = 16;
    if (!name.starts_with(base) || name.size() <= base.size() || name[base.size()] != '.') {
        return std::nullopt;
    }
    const std::string_view ending = name.substr(base.size() + 1);
    const auto dash = std::min(ending.find('-'), ending.size());
    const auto number = number_in(ending.substr(0, dash));
    const auto repeated =
        dash < ending.size() ? number_in(ending.substr(dash + 1)) : std::optional(std::uint64_t{1});
    if (dash < digits_min || !number || !repeated) {
        return std::nullopt;
    }
    return segment_name{*number, *repeated};
}

std::optional<log_milliseconds> newest_rotated(const std::string& path) {
    const std::atomic<bool> go_on{false};
    return house(path, {}, go_on).newest();
}

house_report keep_house(const std::string& path, const house_rules& rules,
                        std::chrono::system_clock::time_point now, const std::atomic<bool>& stop) {
    return house(path, rules, stop).keep(now);
}

} // namespace sapwood::detail
