"""Ops without a rule, on purpose: those that are made of other ops, and those with no simple formula."""

from __future__ import annotations

from fxprof.rules.registry import names

# Decompose into ops that have rules when they run on the meta device.
DECOMPOSED = names("""
    cosine_similarity pairwise_distance cosine_embedding_loss hinge_embedding_loss margin_ranking_loss
    triplet_margin_loss triplet_margin_with_distance_loss poisson_nll_loss multilabel_soft_margin_loss
    gumbel_softmax trapezoid cumulative_trapezoid gradient diff norm_except_dim linalg_norm linalg_matrix_norm
    linalg_vander matrix_power
""")

# Iterative or data-dependent, or held in a form (sparse, packed) whose shapes do not say the work.
UNCOUNTED = names("""
    svd linalg_svdvals linalg_eig linalg_eigh linalg_eigvals linalg_eigvalsh linalg_cond linalg_matrix_rank
    linalg_polar linalg_matrix_sqrth linalg_lstsq linalg_qr geqrf orgqr ormqr qr lobpcg pca_lowrank svd_lowrank
    pinverse nuclear_norm matrix_exp
    linalg_cholesky linalg_cholesky_ex cholesky cholesky_inverse cholesky_solve
    inverse linalg_inv_ex det logdet slogdet linalg_solve linalg_solve_ex triangular_solve
    linalg_lu linalg_lu_factor linalg_lu_factor_ex linalg_lu_solve lu lu_solve
    linalg_ldl_factor linalg_ldl_factor_ex linalg_ldl_solve linalg_tensorinv linalg_tensorsolve
    _linalg_svd _linalg_eigh _linalg_eigvals _linalg_det _linalg_slogdet _linalg_solve_ex _lu_with_info
    batch_norm_backward_elemt batch_norm_backward_reduce batch_norm_gather_stats batch_norm_gather_stats_with_counts
    miopen_rnn choose_qparams_optimized fbgemm_linear_int8_weight fbgemm_linear_int8_weight_fp32_activation
    fbgemm_linear_quantize_weight fbgemm_pack_gemm_matrix_fp16 fbgemm_pack_quantized_matrix
    apply map map2
""")
