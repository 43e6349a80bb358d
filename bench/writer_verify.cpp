#include "writer_verify.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "writer_record.hpp"

namespace bench {

namespace {

// A file's content, for reading front to back.
class mapping {
  public:
    explicit mapping(const std::string& path) {
        const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);

        struct stat status {};

        if (fd < 0 || fstat(fd, &status) != 0) {
            fail(fd, path);
        }
        size_ = static_cast<std::size_t>(status.st_size);
        if (size_ > 0) {
            data_ = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
            if (data_ == MAP_FAILED) {
                fail(fd, path);
            }
        }
        close(fd);
    }

    ~mapping() {
        if (size_ > 0) {
            munmap(data_, size_);
        }
    }

    mapping(const mapping&) = delete;
    mapping& operator=(const mapping&) = delete;

    [[nodiscard]] std::string_view text() const { return {static_cast<const char*>(data_), size_}; }

  private:
    [[noreturn]] static void fail(int fd, const std::string& path) {
        const int error = errno;
        if (fd >= 0) {
            close(fd);
        }
        throw std::system_error{error, std::generic_category(), "cannot verify " + path};
    }

    void* data_ = nullptr;
    std::size_t size_ = 0;
};

std::string timestamp_of(std::chrono::system_clock::time_point time) {
    std::array<char, timestamp_bytes> text{};
    line_formatter{}.format_timestamp(text.data(), time);
    return {text.data(), text.size()};
}

bool has_shape_of_timestamp(std::string_view text) {
    constexpr std::string_view shape = "dddd-dd-dd dd:dd:dd.ddd";
    for (std::size_t i = 0; i < shape.size(); ++i) {
        const bool is_digit = text[i] >= '0' && text[i] <= '9';
        if (shape[i] == 'd' ? !is_digit : text[i] != shape[i]) {
            return false;
        }
    }
    return text.substr(11, 2) < "24" && text.substr(14, 2) < "60" && text.substr(17, 2) < "61";
}

// Reads the number behind `name`, searching from `from` on. Returns false where there is none.
bool number_behind(std::string_view line, std::string_view name, std::size_t from,
                   std::uint64_t& number) {
    const std::size_t start = line.find(name, from);
    if (start == std::string_view::npos) {
        return false;
    }
    const char* const first = line.data() + start + name.size();
    return std::from_chars(first, line.data() + line.size(), number).ec == std::errc{};
}

class checker {
  public:
    checker(const writer_job& job, const time_window& window)
        : job_{job},
          begin_{timestamp_of(window.begin)},
          end_{timestamp_of(window.end)},
          seen_(job.records) {
        std::uint64_t first = 0;
        for (std::uint64_t producer = 0; producer < job.producers; ++producer) {
            first_.push_back(first);
            first += share_of(producer, job.producers, job.records);
        }
    }

    // Precondition: the line ends with its newline. Returns what is wrong, or nothing.
    [[nodiscard]] std::string_view check(std::string_view line) {
        if (line.size() <= timestamp_bytes) {
            return "it is too short";
        }
        const std::string_view timestamp = line.substr(0, timestamp_bytes);
        if (timestamp < begin_ || timestamp > end_ || !has_shape_of_timestamp(timestamp)) {
            return "its timestamp is not one of this run";
        }
        std::uint64_t producer = 0;
        std::uint64_t index = 0;
        if (!number_behind(line, " ", timestamp_bytes, producer) ||
            !number_behind(line, " record ", timestamp_bytes, index) ||
            producer >= job_.producers ||
            index >= share_of(producer, job_.producers, job_.records)) {
            return "it is no record of this run";
        }
        std::array<char, line_bytes_max> expected; // Filled below: no need to clear it.
        const char* const end = format_tail(expected.data(), record_of(producer, index));
        const std::string_view tail = line.substr(timestamp_bytes);
        if (tail != std::string_view{expected.data(), end}) {
            return "it is not what this record looks like";
        }
        auto seen = seen_[first_[producer] + index];
        if (seen) {
            return "this record is in the file twice";
        }
        seen = true;
        return {};
    }

  private:
    const writer_job& job_;
    const std::string begin_;
    const std::string end_;
    std::vector<std::uint64_t> first_; // Of each producer, its first record's place in seen_.
    std::vector<bool> seen_;
};

} // namespace

std::uint64_t verify_file(const writer_job& job, const time_window& window) {
    const mapping file{job.path};
    std::string_view rest = file.text();
    checker lines{job, window};
    std::uint64_t count = 0;
    while (!rest.empty()) {
        ++count;
        const std::size_t newline = rest.find('\n');
        const std::string_view line = rest.substr(0, newline == rest.npos ? newline : newline + 1);
        const std::string_view problem =
            newline == rest.npos ? "it has no newline" : lines.check(line);
        if (!problem.empty()) {
            throw std::runtime_error(
                fmt::format("{}, line {}: {}: \"{}\"", job.path, count, problem,
                            line.substr(0, std::min(line.find('\n'), line_bytes_max))));
        }
        rest.remove_prefix(line.size());
    }
    // Each line is another record of the job, so as many lines as records are all of them.
    if (count != job.records) {
        throw std::runtime_error(fmt::format("{}: {} records are missing of {}", job.path,
                                             job.records - count, job.records));
    }
    return file.text().size();
}

} // namespace bench
