// Compressing a file with zstd, if sapwood was built with it. Blocks.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace sapwood::detail {

/// Whether this sapwood was built with zstd.
[[nodiscard]] bool can_compress() noexcept;

enum class compression_end : std::uint8_t {
    done,
    /// Done, and it could not be given the file's owner, group or access control list: nobody can
    /// read it who could not read the file, but perhaps fewer can.
    done_for_fewer,
    /// `stop` was set.
    stopped,
    /// Somebody has it locked: a child that was forked may still write to it.
    in_use,
};

/// Compresses the file `name` of an open directory into `<name>.zst`, which takes over its
/// owner, permissions and time, and removes it. What is not whole is called `<name>.zst.tmp`. Both
/// names and the contents survive the machine before the original goes. Throws std::system_error;
/// then, and where it is not done, all is as before.
compression_end compress_file(int directory, const std::string& name, int level,
                              const std::atomic<bool>& stop);

} // namespace sapwood::detail
