// Question: what does the disk allow one writer, and what do threads reach that share syncs?
// Method: append and fdatasync; a group commit as databases do it, where the first thread that
// finds nobody writing writes and syncs for all that wait. Unit: see durable.cpp.

#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "durable_case.hpp"

namespace bench {

namespace {

using steady = std::chrono::steady_clock;

void require(bool holds) {
    if (!holds) {
        throw std::system_error{errno, std::generic_category(), "the log of a peer"};
    }
}

class log_file {
  public:
    explicit log_file(const std::string& path)
        : fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) {
        require(fd_ >= 0);
    }

    log_file(const log_file&) = delete;
    log_file& operator=(const log_file&) = delete;

    ~log_file() { ::close(fd_); }

    void append_durably(std::string_view text) {
        while (!text.empty()) {
            const ssize_t written = ::write(fd_, text.data(), text.size());
            require(written > 0);
            text.remove_prefix(static_cast<std::size_t>(written));
        }
        require(::fdatasync(fd_) == 0);
    }

  private:
    int fd_;
};

// Keeps its last two blocks, and writes those that the line is in.
class direct_file {
  public:
    explicit direct_file(const std::string& path)
        : fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_DIRECT | O_CLOEXEC, 0600)),
          zeros_(static_cast<char*>(std::aligned_alloc(block, ahead))),
          blocks_(static_cast<char*>(std::aligned_alloc(block, 2 * block))) {
        require(fd_ >= 0 && zeros_ != nullptr && blocks_ != nullptr);
        std::memset(zeros_, 0, ahead);
        std::memset(blocks_, 0, 2 * block);
    }

    direct_file(const direct_file&) = delete;
    direct_file& operator=(const direct_file&) = delete;

    ~direct_file() {
        std::free(zeros_);
        std::free(blocks_);
        ::close(fd_);
    }

    void append_durably(std::string_view text) {
        const std::size_t begin = size_ / block * block;
        if (begin + 2 * block > written_) {
            require(::pwrite(fd_, zeros_, ahead, static_cast<off_t>(written_)) == ahead);
            written_ += ahead;
        }
        std::memcpy(blocks_ + (size_ - begin), text.data(), text.size());
        size_ += text.size();
        const std::size_t end = (size_ + block - 1) / block * block;
        const iovec one{blocks_, end - begin};
        require(::pwritev2(fd_, &one, 1, static_cast<off_t>(begin), RWF_DSYNC) ==
                static_cast<ssize_t>(end - begin));
        if (size_ - begin >= block) {
            std::memcpy(blocks_, blocks_ + block, block);
            std::memset(blocks_ + block, 0, block);
        }
    }

    // Cuts the zeros off.
    void end() { require(::ftruncate(fd_, static_cast<off_t>(size_)) == 0); }

  private:
    static constexpr std::size_t block = 4096;
    static constexpr std::size_t ahead = 1u << 20;

    int fd_;
    char* zeros_;
    char* blocks_;
    std::size_t size_ = 0;
    std::size_t written_ = 0;
};

class group_commit {
  public:
    explicit group_commit(const std::string& path) : file_(path) {}

    void append_durably(std::string_view line) {
        std::unique_lock lock(mutex_);
        filling_.append(line);
        const std::uint64_t mine = ++appended_;
        while (durable_ < mine) {
            if (has_leader_) {
                synced_.wait(lock);
                continue;
            }
            has_leader_ = true;
            writing_.clear();
            writing_.swap(filling_);
            const std::uint64_t last = appended_;
            lock.unlock();
            file_.append_durably(writing_);
            lock.lock();
            durable_ = last;
            has_leader_ = false;
            synced_.notify_all();
        }
    }

  private:
    log_file file_;
    std::mutex mutex_;
    std::condition_variable synced_;
    std::string filling_;
    std::string writing_;
    std::uint64_t appended_ = 0;
    std::uint64_t durable_ = 0;
    bool has_leader_ = false;
};

} // namespace

durable_result write_by_floor(const durable_job& job) {
    log_file file(job.path);
    durable_line line;
    char text[192];
    durable_result result{.acknowledged = {0}, .wall = {}};
    const auto begin = steady::now();
    while (steady::now() - begin < job.time) {
        const std::size_t size = line.format(text, 0, result.acknowledged[0]);
        file.append_durably({text, size});
        ++result.acknowledged[0];
    }
    result.wall = steady::now() - begin;
    return result;
}

durable_result write_by_direct_floor(const durable_job& job) {
    direct_file file(job.path);
    durable_line line;
    char text[192];
    durable_result result{.acknowledged = {0}, .wall = {}};
    const auto begin = steady::now();
    while (steady::now() - begin < job.time) {
        const std::size_t size = line.format(text, 0, result.acknowledged[0]);
        file.append_durably({text, size});
        ++result.acknowledged[0];
    }
    result.wall = steady::now() - begin;
    file.end();
    return result;
}

durable_result write_by_threads(const durable_job& job) {
    group_commit log(job.path);
    durable_result result{.acknowledged = std::vector<std::uint64_t>(job.producers), .wall = {}};
    const auto begin = steady::now();
    {
        std::vector<std::jthread> threads;
        for (std::uint64_t i = 0; i < job.producers; ++i) {
            threads.emplace_back([&, i] {
                durable_line line;
                char text[192];
                std::uint64_t count = 0;
                while (steady::now() - begin < job.time) {
                    log.append_durably({text, line.format(text, i, count)});
                    ++count;
                }
                result.acknowledged[i] = count;
            });
        }
    }
    result.wall = steady::now() - begin;
    return result;
}

} // namespace bench
