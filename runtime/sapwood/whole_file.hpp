// Whole files: read into memory, or put in the place of another so that nobody ever sees a half;
// and files that are gone when they are closed. Loop thread only.
#pragma once

#include <sapwood/file.hpp>
#include <sapwood/task.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <type_traits>

namespace sapwood {

/// What a file may have to be read whole, unless the caller says otherwise.
inline constexpr std::size_t whole_file_bytes_max = 64u << 20;

/// All that is in a file, to its end, also where its size is not known, as in /proc. Throws
/// std::system_error that names it: EFBIG where there are more than `bytes_max`. Throws
/// `cancelled`.
[[nodiscard]] task<std::string> read_whole_file(std::string path,
                                                std::size_t bytes_max = whole_file_bytes_max);

struct write_file_options {
    /// Permissions of the file, whatever the umask. By default those of the file that is replaced,
    /// without its set-user-ID, set-group-ID and sticky bits, because the new file's owner may be
    /// another; and where there is none only its owner's, 0600.
    std::optional<mode_t> mode = {};
    /// It survives the machine when the call has returned: the file is synced before it gets its
    /// name, and the directory afterwards. Without it, it only survives the process, and after a
    /// power cut the file may be empty.
    bool durable = true;
};

static_assert(std::is_trivially_destructible_v<write_file_options>,
              "gcc 12 destroys options in a co_await expression twice");

/// Puts `bytes`, which must live until then, in the place of the file `path`: who opens it sees the
/// old contents or the new. They are written to a new file beside it, `.<name>.` and 16 hexadecimal
/// digits (a long name is cut to make room for them), which then gets the name; a symbolic link is
/// replaced, not followed, and owner and other names stay with the old file. Where anything fails,
/// and cancelled before the name is given, the new file is removed and the old is as it was. Throws
/// std::system_error that names what it was about.
[[nodiscard]] task<> write_whole_file(std::string path, std::span<const char> bytes,
                                      write_file_options options = {});

/// A file without a name in `directory`, by default that of TMPDIR, or /tmp: open for reading and
/// writing, and gone when it is closed. Throws std::system_error that names the directory or the
/// file, and `cancelled`. On a file system without O_TMPFILE the file has a name for a moment, and
/// a request to stop waits until it is removed; where that fails the error names what is left.
[[nodiscard]] task<file> open_temporary_file(std::string directory = {});

/// Makes an empty directory that only its owner may use: `prefix`, which may begin with folders,
/// and 16 hexadecimal digits. Returns its path. Nobody removes it but the caller.
[[nodiscard]] task<std::string> make_temporary_directory(std::string prefix);

} // namespace sapwood
