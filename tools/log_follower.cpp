#include "log_follower.hpp"

#include "complaint.hpp"
#include "followed_file.hpp"
#include "log_files.hpp"

#include <sapwood/poll.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/when_any.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <deque>
#include <filesystem>
#include <fmt/format.h>
#include <memory>
#include <set>
#include <string_view>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

namespace sapwood::tools {

namespace {

using namespace std::chrono_literals;

/// Who writes a log notices within a second that it was renamed, and goes on in the old file until
/// then.
constexpr auto old_file_lasts = 5s;

/// Where nothing is told, as on a file system of another machine.
constexpr auto look_every = 1s;

void complain_once(std::string_view what) {
    complain_as("tail", what);
}

/// By which a file of the log is known again: its name, or, where the next rotation gives it
/// another number, when it was written last, which neither that nor compressing changes.
std::string identity_of(const log_file& file) {
    std::string name = file.is_compressed ? file.path.substr(0, file.path.rfind('.')) : file.path;
    const std::size_t digits = name.size() - (name.find_last_not_of("0123456789") + 1);
    constexpr std::size_t digits_max = 6;
    const bool is_numbered = digits > 0 && digits <= digits_max && digits < name.size() &&
                             name.at(name.size() - digits - 1) == '.';

    struct ::stat status {};

    if (!is_numbered || ::stat(file.path.c_str(), &status) != 0) {
        return name;
    }
    return fmt::format("{}.{:09}", status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
}

/// Whether the packed file is what the open one was: by its begin.
bool is_packed_of(const log_file& packed, const followed_file& open) {
    constexpr std::size_t compared_max = 4096;
    char begin[compared_max];
    const ssize_t got = open.fd() < 0 ? 0 : ::pread(open.fd(), begin, compared_max, 0);
    std::string_view text(begin, got > 0 ? static_cast<std::size_t>(got) : 0);
    text = text.substr(0, text.find_last_not_of('\0') + 1);
    try {
        block_reader reader(packed);
        const std::string_view other = reader.next();
        const std::size_t size = std::min(text.size(), other.size());
        return size > 0 && text.substr(0, size) == other.substr(0, size);
    } catch (const std::system_error&) {
        return false; // whoever shows it says why
    }
}

/// Tells when something has happened to files: wakes, and says nothing of what it was.
class file_watch {
  public:
    explicit file_watch(const std::string& log) : fd_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
        const std::string folder = std::filesystem::path(log).parent_path().string();
        (void)add(folder.empty() ? "." : folder,
                  IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ONLYDIR);
    }

    file_watch(const file_watch&) = delete;
    file_watch& operator=(const file_watch&) = delete;

    ~file_watch() {
        if (fd_ >= 0) {
            ::close(fd_);
        }
    }

    /// The number of the watch, for forget(); -1 where there is none.
    [[nodiscard]] int watch(int fd) {
        return add(fmt::format("/proc/self/fd/{}", fd), IN_MODIFY | IN_ATTRIB);
    }

    /// Without it a file that is renamed and not removed would be watched for ever: the kernel
    /// watches what a name has led to, and not the descriptor. Of a file that is gone there is
    /// nothing left to remove.
    void forget(int watch) noexcept {
        if (watch >= 0) {
            (void)::inotify_rm_watch(fd_, watch);
        }
    }

    [[nodiscard]] int fd() const noexcept { return fd_; }

    void take_events() const noexcept {
        alignas(inotify_event) char events[4096];
        while (::read(fd_, events, sizeof(events)) > 0) {
        }
    }

  private:
    /// What cannot be watched is looked at by the clock.
    int add(const std::string& path, std::uint32_t events) {
        return fd_ < 0 ? -1 : ::inotify_add_watch(fd_, path.c_str(), events);
    }

    int fd_;
};

class log_follower {
  public:
    log_follower(std::string log, follow_point from, line_view& view)
        : log_(std::move(log)),
          view_(view),
          watch_(log_) {
        if (from.fd >= 0) {
            add(std::make_unique<followed_file>(log_, from.fd, from.offset));
        } else {
            complain_once(fmt::format("{} is not there; waits for it", log_));
            is_missing_ = true;
        }
        for (const log_file& each : files_now()) {
            known_.insert(identity_of(each));
        }
    }

    /// Shows all that is new.
    void look() {
        find_files();
        // What stands in a file was written behind all that is in those before it. So the ends of
        // the later ones are taken before the earlier ones are read.
        std::vector<std::uint64_t> ends;
        ends.reserve(files_.size());
        for (const auto& each : files_) {
            ends.push_back(each->size());
        }
        for (std::size_t i = 0; i < files_.size(); ++i) {
            files_[i]->show_new(i == 0 ? std::numeric_limits<std::uint64_t>::max() : ends[i],
                                view_);
        }
        view_.output().flush();
        while (files_.size() > 1 && files_.front()->is_read() &&
               files_.front()->is_over(clock::now() - old_file_lasts)) {
            files_.front()->show_rest(view_);
            watch_.forget(watches_.front());
            watches_.pop_front();
            files_.pop_front();
        }
        view_.output().flush();
    }

    [[nodiscard]] file_watch& watch() noexcept { return watch_; }

  private:
    void add(std::unique_ptr<followed_file> file) {
        watches_.push_back(file->fd() >= 0 ? watch_.watch(file->fd()) : -1);
        if (!files_.empty()) {
            files_.back()->is_replaced(clock::now());
        }
        files_.push_back(std::move(file));
    }

    [[nodiscard]] std::vector<log_file> files_now() const {
        try {
            return files_of(log_);
        } catch (const std::system_error&) {
            return {{.path = log_}}; // its directory is not there, or not to be listed
        }
    }

    /// Where the name has another file than before, opens that, and what was written in between.
    void find_files() {
        struct ::stat status {};

        if (::stat(log_.c_str(), &status) != 0) {
            if (!std::exchange(is_missing_, true)) {
                complain_once(fmt::format("{} is gone; waits for it", log_));
            }
            return;
        }
        if (!files_.empty() && files_.back()->is(status)) {
            is_missing_ = false;
            return;
        }
        // While it is looked at, it may be rotated once more: then the next look sees it.
        for (int tries = 0; tries < 10; ++tries) {
            std::vector<log_file> files = files_now();
            std::vector<std::unique_ptr<followed_file>> opened = open_behind(files);
            const std::vector<log_file> again = files_now();
            const auto paths = [](const log_file& each) { return each.path; };
            if (opened.empty() || !std::ranges::equal(files, again, {}, paths, paths) ||
                ::stat(log_.c_str(), &status) != 0 || !opened.back()->is(status)) {
                continue;
            }
            for (auto& each : opened) {
                add(std::move(each));
            }
            known_.clear();
            for (const log_file& each : files) {
                known_.insert(identity_of(each));
            }
            is_missing_ = false;
            return;
        }
    }

    /// The files behind the one that is read now. Empty where one cannot be opened.
    [[nodiscard]] std::vector<std::unique_ptr<followed_file>>
    open_behind(const std::vector<log_file>& files) {
        std::size_t first = files.empty() ? 0 : files.size() - 1;
        bool is_found = false;
        for (std::size_t i = 0; i < files.size() && !files_.empty(); ++i) {
            struct ::stat status {};

            if (::stat(files[i].path.c_str(), &status) == 0 && files_.back()->is(status)) {
                first = i + 1;
                is_found = true;
            }
        }
        if (!is_found) {
            // It has been compressed, or removed. What is new is behind it.
            const auto is_new = [this](const log_file& each) {
                return !known_.contains(identity_of(each));
            };
            const auto found = std::ranges::find_if(files, is_new);
            first = std::min(first, static_cast<std::size_t>(found - files.begin()));
            for (std::size_t i = first; i < files.size() && !files_.empty(); ++i) {
                if (files[i].is_compressed && is_packed_of(files[i], *files_.back())) {
                    first = i + 1;
                }
            }
        }
        std::vector<std::unique_ptr<followed_file>> opened;
        try {
            for (std::size_t i = first; i < files.size(); ++i) {
                if (is_open(files[i])) {
                    continue; // whoever names them, names them in another order
                }
                opened.push_back(files[i].is_compressed
                                     ? std::make_unique<followed_file>(files[i])
                                     : std::make_unique<followed_file>(files[i].path,
                                                                       open_log(files[i].path), 0));
            }
            has_complained_ = false;
        } catch (const std::system_error& error) {
            opened.clear();
            // What is not there was renamed in this moment.
            if (error.code() != std::errc::no_such_file_or_directory &&
                !std::exchange(has_complained_, true)) {
                complain_once(fmt::format("{}; waits until it can", error.what()));
            }
        }
        return opened;
    }

    [[nodiscard]] bool is_open(const log_file& file) const {
        struct ::stat status {};

        return ::stat(file.path.c_str(), &status) == 0 &&
               std::ranges::any_of(files_, [&](const auto& each) { return each->is(status); });
    }

    std::string log_;
    line_view& view_;
    file_watch watch_;
    /// The last one has the log's name, or had it; those before may get lines for a while.
    std::deque<std::unique_ptr<followed_file>> files_;
    /// Of each of them.
    std::deque<int> watches_;
    /// What was there when files were opened last.
    std::set<std::string> known_;
    bool is_missing_ = false;
    /// Of a file that cannot be opened.
    bool has_complained_ = false;
};

[[nodiscard]] bool has_reader_to_lose() {
    struct ::stat status {};

    return ::fstat(STDOUT_FILENO, &status) == 0 &&
           (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode));
}

} // namespace

task<> follow(std::string log, follow_point from, line_view& view) {
    log_follower follower(std::move(log), from, view);
    const bool watches_reader = has_reader_to_lose();
    for (;;) {
        // Here and not behind the waits: where a loop ends in such a call, clang 16 at -O1 and -Og
        // goes on with it after a co_return.
        follower.watch().take_events();
        follower.look();
        const int events = follower.watch().fd();
        if (events < 0) {
            co_await sleep_for(look_every / 4);
        } else if (watches_reader) {
            const auto first = co_await when_any(poll(events, POLLIN), sleep_for(look_every),
                                                 poll(STDOUT_FILENO, 0));
            if (first.index == 2) {
                co_return;
            }
        } else {
            (void)co_await when_any(poll(events, POLLIN), sleep_for(look_every));
        }
    }
}

} // namespace sapwood::tools
