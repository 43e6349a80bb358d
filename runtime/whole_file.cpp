#include <sapwood/whole_file.hpp>

#include "fd_calls.hpp"

#include <sapwood/directory.hpp>
#include <sapwood/fmt_library.hpp>
#include <sapwood/run_blocking.hpp>
#include <sapwood/shield.hpp>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <exception>
#include <sys/random.h>
#include <sys/stat.h>

namespace sapwood {

namespace {

/// A name that is taken by chance is tried again; one that is always taken is somebody's doing.
constexpr int name_tries_max = 8;

/// Read beyond what the file's status says, so that its end is found with one read.
constexpr std::size_t spare_bytes = 4096;

std::string random_digits() {
    std::uint64_t number = 0;
    if (::getrandom(&number, sizeof(number), 0) != static_cast<ssize_t>(sizeof(number))) {
        throw std::system_error(errno, std::generic_category(), "cannot get a random number");
    }
    return fmt::format("{:016x}", number);
}

/// The directory of a path, and what is behind it.
struct split_path {
    explicit split_path(const std::string& path) {
        const auto slash = path.rfind('/');
        folder = slash == path.npos ? "." : path.substr(0, slash + 1);
        name = slash == path.npos ? path : path.substr(slash + 1);
    }

    std::string folder;
    std::string name;
};

task<mode_t> mode_for(directory& folder, const std::string& name, write_file_options options) {
    if (options.mode) {
        co_return *options.mode;
    }
    const auto old = co_await as_result(folder.status_of(name, at_symlink::stay));
    if (old && old.value().is_regular()) {
        // Not set-user-ID and its like: the new file's owner may be another.
        co_return static_cast<mode_t>(old.value().mode & 0777);
    }
    if (!old && old.error() == std::errc::operation_canceled) {
        throw cancelled{};
    }
    co_return mode_t{0600};
}

/// `.name.` and digits; of a long name only as much as leaves room for them, in whole UTF-8.
std::string name_beside(const std::string& name) {
    constexpr std::size_t added = 2 + 16;
    std::size_t length = std::min(name.size(), NAME_MAX - added);
    while (length > 0 && length < name.size() &&
           (static_cast<unsigned char>(name[length]) & 0xc0u) == 0x80u) {
        --length;
    }
    return fmt::format(".{}.{}", std::string_view(name).substr(0, length), random_digits());
}

/// `made` becomes its name once it is there, and ours to remove.
task<file> create_beside(directory& folder, const std::string& name, std::string& made) {
    // An open that was broken off may have made the file, or met somebody else's.
    const shield_scope shielded(*event_loop::current().running_task());
    for (int tries = 1;; ++tries) {
        std::string candidate = name_beside(name);
        auto created = co_await as_result(
            folder.open_file(candidate, {.flags = O_WRONLY | O_CREAT | O_EXCL, .mode = 0600}));
        if (created) {
            made = std::move(candidate);
            co_return std::move(*created);
        }
        if (created.error() != std::errc::file_exists || tries == name_tries_max) {
            throw std::system_error(created.error(), "cannot create " + candidate);
        }
    }
}

/// Fills the new file and gives it its name.
task<> put_in_place(directory& folder, file& fresh, const std::string& made,
                    const std::string& name, std::span<const char> bytes, mode_t mode,
                    bool durable) {
    // Before there is anything in it to be read. The ring has no operation for it, and it may wait
    // for the file system's journal or its server.
    const auto set_mode = [fd = fresh.fd(), mode] { return detail::change_mode_now(fd, mode); };
    std::int32_t outcome = 0;
    if (detail::is_simulated(fresh.fd())) {
        outcome = set_mode();
    } else {
        outcome = co_await run_blocking(set_mode);
    }
    if (outcome != 0) {
        throw std::system_error(-outcome, std::generic_category(), "cannot set its permissions");
    }
    co_await fresh.write_all(bytes, {0});
    if (durable) {
        co_await fresh.sync();
    }
    co_await fresh.close(); // which is where a network file system tells of its failures
    co_await folder.rename(made, name);
}

} // namespace

task<std::string> read_whole_file(std::string path, std::size_t bytes_max) {
    file from = co_await file::open(path);
    const file_status status = co_await from.stat();
    const auto too_large = [&] {
        return std::system_error(
            EFBIG, std::generic_category(),
            fmt::format("cannot read {}: it has more than {} bytes", path, bytes_max));
    };
    if (status.size > bytes_max) {
        throw too_large();
    }
    std::string bytes(status.size + 1, '\0');
    std::size_t used = 0;
    for (;;) {
        const auto read = co_await as_result(from.read_some(std::span(bytes).subspan(used)));
        if (!read) {
            if (read.error() == std::errc::operation_canceled) {
                throw cancelled{};
            }
            throw std::system_error(read.error(), fmt::format("cannot read {}", path));
        }
        const std::size_t got = *read;
        used += got;
        if (got == 0) {
            break;
        }
        if (used > bytes_max) {
            throw too_large();
        }
        if (used == bytes.size()) {
            bytes.resize(used + std::max(used, spare_bytes));
        }
    }
    bytes.resize(used);
    co_await from.close();
    co_return bytes;
}

task<> write_whole_file(std::string path, std::span<const char> bytes, write_file_options options) {
    const split_path at(path);
    std::exception_ptr failure;
    directory folder = co_await directory::open(at.folder);
    std::string made;
    bool is_in_place = false;
    try {
        const mode_t mode = co_await mode_for(folder, at.name, options);
        file fresh = co_await create_beside(folder, at.name, made);
        co_await put_in_place(folder, fresh, made, at.name, bytes, mode, options.durable);
        is_in_place = true;
        if (options.durable) {
            co_await folder.sync();
        }
    } catch (...) {
        failure = std::current_exception();
    }
    if (!failure) {
        co_return;
    }
    if (!is_in_place && !made.empty()) {
        const shield_scope shielded(*event_loop::current().running_task());
        (void)co_await as_result(folder.remove_file(made));
    }
    try {
        std::rethrow_exception(failure);
    } catch (const std::system_error& why) {
        throw std::system_error(why.code(), "cannot write " + path);
    }
}

task<file> open_temporary_file(std::string directory_path) {
    if (directory_path.empty()) {
        const char* const named = std::getenv("TMPDIR");
        directory_path = named != nullptr && *named != '\0' ? named : "/tmp";
    }
    auto nameless = co_await as_result(
        file::open(directory_path, {.flags = O_RDWR | O_TMPFILE | O_EXCL, .mode = 0600}));
    if (nameless) {
        co_return std::move(*nameless);
    }
    if (nameless.error() == std::errc::operation_canceled) {
        throw cancelled{};
    }
    if (nameless.error() != std::errc::operation_not_supported &&
        nameless.error() != std::errc::is_a_directory) {
        throw std::system_error(nameless.error(),
                                "cannot create a temporary file in " + directory_path);
    }
    // A file system without O_TMPFILE, such as an old NFS: with a name for a moment.
    const auto path = fmt::format("{}/sapwood.{}", directory_path, random_digits());
    // From here to the removal neither a request to stop nor want of memory may intervene.
    auto removal = remove_file(path);
    const shield_scope shielded(*event_loop::current().running_task());
    file named = co_await file::open(path, {.flags = O_RDWR | O_CREAT | O_EXCL, .mode = 0600});
    co_await removal;
    co_return named;
}

task<std::string> make_temporary_directory(std::string prefix) {
    for (int tries = 1;; ++tries) {
        std::string path = prefix + random_digits();
        const auto made = co_await as_result(make_directory(path));
        if (made) {
            co_return path;
        }
        if (made.error() == std::errc::operation_canceled) {
            throw cancelled{};
        }
        if (made.error() != std::errc::file_exists || tries == name_tries_max) {
            throw std::system_error(made.error(), "cannot make the directory " + path);
        }
    }
}

} // namespace sapwood
