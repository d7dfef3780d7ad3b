"""The families that need no formula of their own, as lists of names."""

from __future__ import annotations

from typing import Any

from fxprof.report import Cost
from fxprof.rules.registry import arithmetic, names, numel, rule


def free(*_: Any, **__: Any) -> Cost:
    """Any arguments -> any outputs: moves, renames or asks about data, and computes nothing."""
    return Cost()


def elementwise(*_: Any, out: Any = None) -> Cost:
    """Any shapes (*) that broadcast -> out (*), or several: one FLOP per output element."""
    return arithmetic(numel(out))


# Moves or renames data, or selects some of it.
MOVES = names("""
    view view_as view_as_real view_as_complex reshape reshape_as _unsafe_view _reshape_alias flatten unflatten ravel
    permute transpose t T H mT mH adjoint movedim squeeze unsqueeze expand expand_as
    broadcast_to broadcast_tensors meshgrid atleast_1d atleast_2d atleast_3d as_strided slice select narrow diagonal
    unbind split split_with_sizes chunk tensor_split hsplit vsplit dsplit unsafe_chunk unsafe_split
    unsafe_split_with_sizes getitem setitem index index_select take take_along_dim gather masked_select
    _unsafe_index _unsafe_masked_index
    masked_fill masked_scatter where index_put _unsafe_index_put _index_put_impl index_copy index_fill scatter put
    select_scatter slice_scatter slice_inverse diagonal_scatter as_strided_scatter fill fill_diagonal zero tril triu
    cat stack hstack vstack dstack column_stack block_diag cartesian_prod combinations
    pad constant_pad_nd _pad_circular _pad_enum reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d
    replication_pad2d replication_pad3d
    flip fliplr flipud roll rot90 repeat repeat_interleave tile diag diag_embed diagflat
    unfold im2col pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle
    max_unpool1d max_unpool2d max_unpool3d
    embedding one_hot nonzero nonzero_static argwhere
    upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d
    _upsample_nearest_exact3d
    clone contiguous copy alias lift lift_fresh detach data resolve_conj resolve_neg conj _conj
    real imag complex positive _neg_view
    to to_dense to_mkldnn type type_as float double half bfloat16 int long short char byte bool cfloat cdouble chalf
    cpu cuda xpu ipu mtia pin_memory _to_copy _to_dense _autocast_to_full_precision _autocast_to_reduced_precision
    resize resize_as set requires_grad retain_grad share_memory is_set_to grad _grad
    _pack_padded_sequence _pad_packed_sequence pad_sequence _stack _chunk_cat _shape_as_tensor
    _cast_Byte _cast_Char _cast_Double _cast_Float _cast_Half _cast_Int _cast_Long _cast_Short _lazy_clone
    _conj_physical matrix_H numpy_T flatten_dense_tensors unflatten_dense_tensors as_subclass
    align_as align_to refine_names rename _update_names
    unravel_index tril_indices triu_indices lu_unpack
    int_repr foreach_clone foreach_copy foreach_zero slice_copy
    fft_fftshift fft_ifftshift
    indices _indices values _values crow_indices ccol_indices row_indices col_indices coalesce to_sparse sparse_mask
    to_sparse_coo to_sparse_csr to_sparse_csc to_sparse_bsr to_sparse_bsc
    _sparse_mask_projection sparse_resize sparse_resize_and_clear resize_as_sparse
    _nested_view_from_buffer
""")

# Makes data from nothing. Drawing random numbers is no arithmetic on the model's data.
CREATES = names("""
    zeros ones empty full zeros_like ones_like empty_like full_like new_zeros new_ones new_empty new_full new_tensor new
    empty_strided new_empty_strided empty_permuted _new_zeros_with_same_feature_meta fft_fftfreq fft_rfftfreq
    sparse_coo_tensor sparse_csr_tensor sparse_csc_tensor sparse_bsr_tensor sparse_bsc_tensor sparse_compressed_tensor
    _spdiags asarray arange range linspace logspace eye scalar_tensor tensor as_tensor from_numpy
    hann_window hamming_window bartlett_window blackman_window kaiser_window
    rand rand_like randn randn_like randint randint_like randperm random normal uniform bernoulli multinomial binomial
    poisson exponential geometric cauchy log_normal _standard_gamma _sample_dirichlet
""")

# Asks about data or changes how it is held.
QUERIES = names("""
    size stride dim ndim ndimension numel nelement shape dtype device layout itemsize element_size nbytes storage
    storage_offset storage_type untyped_storage data_ptr const_data_ptr get_device is_complex is_conj is_contiguous
    is_distributed is_floating_point is_inference is_neg is_pinned is_same_size is_shared is_signed is_coalesced
    is_cpu is_cuda is_ipu is_leaf is_maia is_meta is_mkldnn is_mps is_mtia is_nested is_quantized is_sparse
    is_sparse_csr is_vulkan is_xla is_xpu retains_grad grad_fn grad_dtype _grad_fn _backward_hooks _base _cdata
    _version _post_accumulate_grad_hooks _has_grad_dtype_override name names has_names output_nr volatile
    dim_order result_type
    can_cast promote_types q_per_channel_axis q_per_channel_scales q_per_channel_zero_points q_scale q_zero_point
    qscheme
    sparse_dim dense_dim _dimI _dimV _nnz _is_view _nested_tensor_size _nested_tensor_storage_offsets
    _nested_tensor_strides item tolist numpy _local_scalar_dense getattr setattr len iter hash repr format
    deepcopy reduce_ex setstate array array_wrap dlpack dlpack_device reversed
    cuda_array_interface record_stream register_hook register_post_accumulate_grad_hook backward
    module_load _clear_non_serializable_cached_data _is_zerotensor _has_compatible_shallow_copy_type
    sym_size sym_stride sym_numel sym_storage_offset sym_int sym_float sym_max sym_min sym_not sym_sum sym_ite sym_sqrt
    autocast _assert_async _assert_scalar _assert_tensor_metadata is not is_not truth
    _coalesced _make_dual _unpack_dual _fw_primal _assert _set_grad_enabled
    _functional_assert_async _functional_assert_scalar
    sym_is_contiguous sym_constrain_range sym_constrain_range_for_size _has_same_storage_numel is_tensor
""")

# One operation per output element.
ELEMENTWISE = names("""
    add sub rsub mul div floor_divide remainder fmod pow float_power neg abs sign sgn signbit copysign reciprocal square
    sqrt rsqrt exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh
    sinc erf erfc erfinv lgamma digamma polygamma mvlgamma igamma igammac i0 logit hypot ldexp frexp nextafter
    xlogy logaddexp logaddexp2 ceil floor round trunc frac gcd lcm deg2rad rad2deg angle
    clamp clamp_min clamp_max maximum minimum fmax fmin nan_to_num
    eq ne lt le gt ge isnan isinf isfinite isposinf isneginf isreal heaviside
    logical_and logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor bitwise_not
    bitwise_left_shift bitwise_right_shift lshift rshift
    relu relu6 leaky_relu prelu _prelu_kernel _masked_scale rrelu rrelu_with_noise elu celu selu gelu silu mish
    sigmoid hardsigmoid
    hardswish hardtanh hardshrink softshrink tanhshrink softplus softsign logsigmoid log_sigmoid_forward threshold
    kron
    special_airy_ai special_bessel_j0 special_bessel_j1 special_bessel_y0 special_bessel_y1
    special_chebyshev_polynomial_t special_chebyshev_polynomial_u special_chebyshev_polynomial_v
    special_chebyshev_polynomial_w special_entr special_erfcx special_hermite_polynomial_h
    special_hermite_polynomial_he special_i0e special_i1 special_i1e special_laguerre_polynomial_l
    special_legendre_polynomial_p special_log_ndtr special_modified_bessel_i0 special_modified_bessel_i1
    special_modified_bessel_k0 special_modified_bessel_k1 special_ndtr special_ndtri
    special_scaled_modified_bessel_k0 special_scaled_modified_bessel_k1 special_shifted_chebyshev_polynomial_t
    special_shifted_chebyshev_polynomial_u special_shifted_chebyshev_polynomial_v
    special_shifted_chebyshev_polynomial_w special_spherical_bessel_j0 special_xlog1py special_zeta
""")

# An outer product accumulates nothing: one multiplication per output element.
OUTER = ("outer",)

# One operation per element of every tensor in a list.
FOREACH = names("""
    foreach_abs foreach_acos foreach_add foreach_asin foreach_atan foreach_ceil foreach_clamp_max foreach_clamp_min
    foreach_cos foreach_cosh foreach_div foreach_erf foreach_erfc foreach_exp foreach_expm1 foreach_floor foreach_frac
    foreach_lgamma foreach_log foreach_log10 foreach_log1p foreach_log2 foreach_maximum foreach_minimum foreach_mul
    foreach_neg foreach_pow foreach_reciprocal foreach_round foreach_rsqrt foreach_sigmoid foreach_sign foreach_sin
    foreach_sinh foreach_sqrt foreach_sub foreach_tan foreach_tanh foreach_trunc
""")


def foreach(x: Any, *_: Any, out: Any = None) -> Cost:
    """A list of shapes (*) -> a list of shapes (*), or nothing in place: one FLOP per element."""
    return arithmetic(numel(x))


FREE = (*MOVES, *CREATES, *QUERIES)
rule(*FREE)(free)
rule(*ELEMENTWISE, *OUTER)(elementwise)
rule(*FOREACH)(foreach)
