// The files of a log, in the order in which they were written: those that were set aside, by
// sapwood or by logrotate, and the present one. Plain system calls: for tools that run no loop.
//
//     app.log.2.zst, app.log.1          logrotate's, the highest number is the oldest
//     app.log-20261126                  the same, with dates
//     app.log.20261126T141236.123Z.zst  sapwood's own rotation
//     app.log.0000000000000043-2        segments of a durable log
//     app.log
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::tools {

struct log_file {
    std::string path;
    bool is_compressed = false;
    /// What has this number or a higher one stands in the next file again; 0: nothing does.
    std::uint64_t superseded_from = 0;
};

/// Standard input, as a log.
inline constexpr std::string_view standard_input = "-";

/// The files of the log at `path`, oldest first, itself the last (whether it is there or not). Of
/// what has been compressed and is not removed yet, the original. Names with other endings (.gz) go
/// into `unreadable`, FIFOs nowhere. Throws std::system_error where the directory cannot be read.
[[nodiscard]] std::vector<log_file> files_of(const std::string& path,
                                             std::vector<std::string>* unreadable = nullptr);

/// Whether what has been compressed can be read by this build.
[[nodiscard]] bool reads_zstd() noexcept;

/// The bytes of a file, decompressed where they must be, in blocks of whole lines.
class block_reader {
  public:
    class source;

    /// Of a FIFO waits until somebody has written to it. Throws std::system_error that names the
    /// file.
    explicit block_reader(const log_file& file);
    block_reader(const block_reader&) = delete;
    block_reader& operator=(const block_reader&) = delete;
    ~block_reader();

    /// The next lines, each with its newline but perhaps the file's last; empty at the end.
    /// line_padding bytes behind them may be read. Zeros at the end of a file, space for lines to
    /// come, are left out. Throws std::system_error.
    [[nodiscard]] std::string_view next();

    /// Read so far, of the file itself.
    [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

    /// What is longer is given in pieces.
    static constexpr std::size_t line_bytes_max = 128u << 20;

  private:
    static constexpr std::size_t block_bytes = 1u << 20;

    void grow();

    std::unique_ptr<source> source_;
    std::size_t capacity_ = 2 * block_bytes;
    std::unique_ptr<char[]> block_;
    /// Of what has been read: what was given out, and what there is.
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    std::uint64_t bytes_ = 0;
    bool is_over_ = false;
};

/// The next line of `block`, without its newline, taken away from it.
[[nodiscard]] inline std::string_view take_line(std::string_view& block) noexcept {
    const std::size_t end = block.find('\n');
    const std::string_view line = block.substr(0, end);
    block.remove_prefix(end == block.npos ? block.size() : end + 1);
    return line;
}

/// Whether its lines come as they are written, and somebody may look at them then.
[[nodiscard]] bool is_live(const std::string& path) noexcept;

/// Opened for reading, without waiting for a FIFO's other end. Throws std::system_error.
[[nodiscard]] int open_log(const std::string& path);

} // namespace sapwood::tools
