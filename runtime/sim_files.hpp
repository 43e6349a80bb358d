// The files of a simulated machine: inodes, names, open descriptors, as system calls use them.
// Names, like bytes, are there twice, as the kernel has them and as the disk has them. The rules
// for names, which allow more than ext4 does (whose one journal keeps the order of all):
//
//  - Of the changes to one directory that no sync has made durable, a power cut keeps the first so
//    many. Other directories keep theirs independently.
//  - A rename, in one directory or from one to another, is kept whole or not at all.
//  - Only a sync of the directory makes its names durable; that of a file does not.
//  - A file without a durable name is gone.
//
// Calls return what the kernel's return, a negative errno where they fail. No permissions, no
// hard limits but those that the world sets. Loop thread only.
#pragma once

#include "sim_bytes.hpp"

#include <sapwood/file.hpp>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <sys/types.h>
#include <vector>

struct statx;

namespace sapwood::detail {

class sim_files {
  public:
    static constexpr std::int64_t file_bytes_max = 1 << 30;
    static constexpr std::int64_t at_position = -1;

    /// What a call returns that does not come back: it waits for somebody at a FIFO's other end.
    static constexpr std::int32_t never = INT32_MIN;

    /// The number of the inode that is the root directory; 0 is none.
    static constexpr std::uint32_t root = 1;

    using name_map = std::map<std::string, std::uint32_t, std::less<>>;

    struct inode {
        mode_t mode = 0;
        std::uint32_t links = 0;
        /// Of a symbolic link.
        std::string target;
        sim_bytes bytes;
        std::int64_t modified = 0;
        /// Errors of syncs so far, and whether the last one has been told to somebody (errseq_t).
        std::uint32_t sync_errors = 0;
        std::int32_t sync_error = 0;
        bool is_error_told = true;
        /// The descriptor that has an exclusive flock(2), or how many share one.
        int lock_owner = -1;
        unsigned lock_shares = 0;
        /// Of a directory: the one above it, what the kernel has, and what the disk has.
        std::uint32_t parent = 0;
        name_map names;
        name_map durable_names;
    };

    struct descriptor {
        std::uint32_t inode = 0;
        int flags = 0;
        std::int64_t position = 0;
        std::uint32_t sync_errors_seen = 0;
        bool is_open = false;
        enum class lock : std::uint8_t { none, shared, exclusive } held = lock::none;
    };

    struct transfer {
        int fd = -1;
        std::int64_t offset = at_position;
        bool is_synced = false;
        bool appends = false;
        /// Where the bytes are in memory, which matters to O_DIRECT.
        std::uint64_t address = 0;
    };

    /// What a descriptor with O_DIRECT wants offsets, sizes and addresses to be multiples of.
    static constexpr std::size_t direct_bytes = sim_bytes::sector_bytes;

    sim_files();

    // --- calls ---

    /// `resolve` is openat2's.
    std::int32_t open(int at, std::string_view path, int flags, mode_t mode, std::uint64_t resolve);
    std::int32_t close(int fd);
    std::int32_t read(const transfer& where, std::span<char> into);
    std::int32_t write(const transfer& where, std::span<const char> bytes);
    std::int32_t truncate(int fd, std::int64_t size);
    std::int32_t allocate(int fd, int mode, std::int64_t begin, std::int64_t size);
    std::int32_t status(int at, std::string_view path, int flags, struct ::statx& into) const;
    std::int32_t rename(int at, std::string_view from, int to_at, std::string_view to,
                        unsigned flags);
    std::int32_t remove(int at, std::string_view path, int flags);
    std::int32_t make_directory(int at, std::string_view path, mode_t mode);
    std::int32_t link(int at, std::string_view path, int to_at, std::string_view name, int flags);
    std::int32_t make_symlink(std::string_view target, int at, std::string_view path);
    std::int32_t make_fifo(std::string_view path, mode_t mode);
    std::int32_t change_mode(int fd, mode_t mode);
    std::int32_t extent(int fd, file_extent& into) const;
    std::int32_t change_flags(int fd, int clear, int set);
    std::int32_t lock(int fd, int operation);
    /// Entries as getdents64(2) gives them.
    std::int32_t read_directory(int fd, std::span<std::byte> into);

    /// Whether `fd` was opened with O_DIRECT, or is so now.
    [[nodiscard]] bool is_direct(int fd) const noexcept;
    /// Whether a write needs no room on the disk, but goes over what the file has.
    [[nodiscard]] bool is_overwrite(const transfer& where, std::size_t size) const noexcept;

    // --- syncs ---

    /// What a sync of `fd` that begins now has to make durable.
    [[nodiscard]] std::uint64_t sync_mark(int fd) const;
    /// The sync that began at `mark` succeeds, or tells an error of an earlier one that this
    /// descriptor has not been told.
    std::int32_t sync(int fd, std::uint64_t mark);
    /// It fails: what of it is not on the disk never will be.
    std::int32_t fail_sync(int fd, std::int32_t error, sim_random& chance);

    // --- the machine ---

    /// The process is gone: its descriptors are closed. `may_evict`: clean pages are forgotten. How
    /// many files are others then.
    unsigned kill(bool may_evict);
    void cut(sim_random& chance);
    /// As if all had been synced.
    void make_all_durable();

    /// Nothing, where a power cut may leave these names with these contents; otherwise why not. Of
    /// regular files in one directory.
    [[nodiscard]] std::optional<std::string>
    objection(std::string_view folder, const std::map<std::string, std::string>& found) const;

    // --- for who looks on ---

    [[nodiscard]] const inode* find(std::string_view path) const;
    [[nodiscard]] const descriptor* opened(int fd) const noexcept;

    [[nodiscard]] const inode& node_of(const descriptor& of) const { return inodes_[of.inode]; }

    [[nodiscard]] std::size_t open_count() const noexcept;
    /// The name under which a descriptor was opened, or its number; for traces.
    [[nodiscard]] std::string name_of(int fd) const;

    template <class F>
    void visit_regular(F&& each) const {
        visit_regular(root, "", each);
    }

    void set_time(std::int64_t nanoseconds) noexcept { time_ = nanoseconds; }

  private:
    /// A name of a directory that changes: to another file, or to none (0).
    struct name_change {
        std::uint32_t folder;
        std::uint32_t file;
        std::string name;
        /// Changes with one number go together.
        std::uint64_t group;
    };

    struct place {
        std::int32_t error = 0;
        std::uint32_t folder = 0;
        std::uint32_t file = 0;
        std::string name;
    };

    template <class F>
    void visit_regular(std::uint32_t folder, const std::string& prefix, F& each) const {
        for (const auto& [name, file] : inodes_[folder].names) {
            std::string path = prefix;
            path.append("/").append(name);
            if (S_ISREG(inodes_[file].mode)) {
                each(path, inodes_[file]);
            } else if (S_ISDIR(inodes_[file].mode)) {
                visit_regular(file, path, each);
            }
        }
    }

    enum class last_link : std::uint8_t { follow, stay };

    [[nodiscard]] place resolve(int at, std::string_view path, last_link last,
                                std::uint64_t resolve) const;
    [[nodiscard]] std::uint32_t add(mode_t mode);
    [[nodiscard]] std::int32_t add_descriptor(std::uint32_t file, int flags);
    [[nodiscard]] descriptor* find_descriptor(int fd) noexcept;

    [[nodiscard]] inode& node(std::uint32_t number) noexcept { return inodes_[number]; }

    [[nodiscard]] const inode& node(std::uint32_t number) const noexcept { return inodes_[number]; }

    [[nodiscard]] std::int32_t open_found(std::uint32_t file, int flags);
    void set_name(std::uint32_t folder, std::string name, std::uint32_t file, std::uint64_t group);
    void drop_lock(descriptor& of) noexcept;
    void sync_names(std::uint32_t folder, std::uint64_t mark);
    void apply(const name_change& change);
    void walk(std::uint32_t folder);
    [[nodiscard]] std::string
    objection_to_contents(const name_map& names,
                          const std::map<std::string, std::string>& found) const;
    void forget_descriptors() noexcept;

    std::deque<inode> inodes_;
    std::vector<descriptor> descriptors_;
    std::vector<name_change> name_changes_;
    std::uint64_t groups_ = 0;
    std::int64_t time_ = 0;
};

} // namespace sapwood::detail
