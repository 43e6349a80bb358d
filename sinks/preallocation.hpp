// The end of a log whose space is there before its lines: zeros stand behind the last line, lines
// go over them in whole blocks and past the page cache (O_DIRECT), and so a write that is synced
// neither changes the file's length nor waits for a journal. The last block, which is filled only
// in part, is kept here: it is written again, with what it has and what comes. Bytes that were
// there before do not change thereby, so that whatever is left of a write that the power's end cuts
// off, they are there. Of one file_sink, whose descriptor it uses. Loop thread only.
#pragma once

#include <sapwood/file.hpp>
#include <sapwood/task.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <system_error>
#include <utility>

namespace sapwood::detail {

class preallocation {
  public:
    /// Of offsets, sizes and addresses: what every disk takes that has 4096 bytes in a sector, or
    /// less.
    static constexpr std::size_t block_bytes = 4096;
    /// Zeros are written so far ahead at once: half a millisecond of a disk's.
    static constexpr std::size_t zeros_bytes_max = 1u << 20;

    /// What became of it. `in_doubt`: it may be on disk, or not, or what else is asked of the file
    /// will not tell; nothing more is to be written to it.
    struct outcome {
        std::error_code why;
        bool in_doubt = false;
    };

    /// `ahead` is at most file_sink_options::preallocated_bytes_max.
    explicit preallocation(std::size_t ahead) noexcept : ahead_(ahead) {}

    /// Of a log that is whole, appended to until now, and `size` bytes long. EINVAL or EOPNOTSUPP:
    /// the file system cannot, and nothing has changed but the file's length, perhaps. Other errors
    /// are those of reading the last block.
    [[nodiscard]] task<std::error_code> begin(file& log, std::uint64_t size);

    /// Writes `lines` behind the first `size` bytes. Where it fails, and nothing is in doubt, the
    /// same may be tried again, or other lines; EINVAL and EOPNOTSUPP say that what was asked for
    /// is not known here: it was synced writes, or, without them, all of this.
    [[nodiscard]] task<outcome> append(file& log, std::span<const char> lines, std::uint64_t size,
                                       bool synced);

    /// How long the file is, zeros and all.
    [[nodiscard]] std::uint64_t file_size() const noexcept { return file_size_; }

    /// Somebody else has changed the file: what is appended from now on is in doubt.
    void distrust() noexcept { is_distrusted_ = true; }

    [[nodiscard]] bool is_distrusted() const noexcept { return is_distrusted_; }

    /// Cuts off what stands behind the first `size` bytes, unless somebody has put it there, and
    /// has the file appended to again. What fails is of no matter: an open finds the zeros.
    [[nodiscard]] task<> end(file& log, std::uint64_t size);

  private:
    struct freed {
        void operator()(char* memory) const noexcept;
    };

    task<outcome> make_room(file& log, std::uint64_t size, std::size_t bytes);
    task<std::error_code> allocate(file& log, std::uint64_t needed);
    task<std::error_code> write_zeros(file& log, std::uint64_t end);
    task<std::error_code> write_blocks(file& log, std::span<const char> blocks, std::uint64_t at,
                                       bool synced);
    void take(std::size_t bytes, std::size_t kept);
    std::span<const char> lay_out(std::span<const char> lines, std::uint64_t size);

    const std::size_t ahead_;
    /// Where blocks are laid out; its first bytes are those of the last block.
    std::unique_ptr<char[], freed> blocks_;
    std::size_t capacity_ = 0;
    std::uint64_t file_size_ = 0;
    /// Up to here blocks have been written: what is only allocated has to be noted as written when
    /// it is, which costs a journal's commit.
    std::uint64_t written_end_ = 0;
    /// Up to here the last write has put something, and if it failed, left that: the next one goes
    /// over all of it.
    std::uint64_t stale_end_ = 0;
    bool is_distrusted_ = false;
};

/// A file in whose place a file_sink has another one: it is to be closed, and so it is when this is
/// destroyed.
class replaced_file {
  public:
    replaced_file(file its_descriptor, std::unique_ptr<preallocation> its_space,
                  std::uint64_t its_size) noexcept
        : descriptor(std::move(its_descriptor)),
          space(std::move(its_space)),
          size(its_size) {}

    file descriptor;
    /// Null where there was none.
    std::unique_ptr<preallocation> space;
    /// Up to the last line's end.
    std::uint64_t size;
};

} // namespace sapwood::detail
